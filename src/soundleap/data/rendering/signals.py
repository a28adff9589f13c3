"""Signals made from formulas: tones, beeps, sirens, telephones, ticking, knocks, chirps, bells."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np

from soundleap.data.rendering.waves import (
    RATE,
    Made,
    Wave,
    bump,
    draw_seconds,
    oscillator,
    pulses,
    shaped_noise,
    time_axis,
)  # fmt: skip

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_SHAPES = {"sine": "sine wave", "square": "square wave", "saw": "sawtooth wave"}
_PITCHES = {"low": (70.0, 180.0), "mid": (300.0, 700.0), "high": (1500.0, 4000.0)}


def _tone(rng: random.Random) -> Made:
    shape, pitch = rng.choice(list(_SHAPES)), rng.choice(list(_PITCHES))
    hertz = round(rng.uniform(*_PITCHES[pitch]))
    wave = oscillator(shape, np.full(round(draw_seconds(rng) * RATE), float(hertz)))
    words = {"low": "low", "mid": "medium pitched", "high": "high pitched"}[pitch]
    captions = [
        f"a {words} {_SHAPES[shape]} tone", f"a steady {words} tone", f"a {_SHAPES[shape]}",
        f"a {_SHAPES[shape]} tone at {hertz} hertz", f"a constant {words} electronic tone",
        f"a continuous {words} test tone",
    ]  # fmt: skip
    return wave, captions, "event"


def _sweep(rng: random.Random) -> Made:
    shape, rising, seconds = rng.choice(list(_SHAPES)), rng.random() < 0.5, draw_seconds(rng)
    low, high = rng.uniform(80, 200), rng.uniform(2000, 5000)
    frequency = np.geomspace(low, high, round(seconds * RATE))
    wave = oscillator(shape, frequency if rising else frequency[::-1])
    way, verb = ("rising", "rises") if rising else ("falling", "falls")
    ends = "from low to high" if rising else "from high to low"
    captions = [
        f"a tone {verb} in pitch", f"a {way} {_SHAPES[shape]} sweep", f"a tone sweeping {ends}",
        f"a {way} electronic tone", f"pitch sweep {ends}", f"a sound slowly {way} in pitch",
    ]  # fmt: skip
    return wave, captions, "event"


def _beeps(rng: random.Random) -> Made:
    count, fast = rng.randint(1, 10), rng.random() < 0.5
    period = rng.uniform(0.2, 0.35) if fast else rng.uniform(0.75, 0.98)
    pitch = rng.choice(("low", "high"))
    hertz = rng.uniform(350, 500) if pitch == "low" else rng.uniform(900, 2500)
    seconds = 0.1 + count * period
    wave = oscillator(rng.choice(("sine", "sine", "square")), np.full(160_000, hertz))
    starts = [0.05 + k * period for k in range(count)]
    wave = pulses(wave, starts, period * 0.6, seconds)
    number, speed = NUMBERS[count], "fast" if fast else "slow"
    if count == 1:
        captions = ["one beep", "a single beep", f"one {pitch} beep", f"a {pitch} pitched beep"]
        return wave, captions, "event"
    captions = [
        f"{number} beeps", f"{number} {speed} beeps", f"a device beeps {number} times",
        f"{number} {pitch} pitched beeps in a row", f"{speed} electronic beeping", "beeping",
        f"{speed} beeps repeated {number} times",
    ]  # fmt: skip
    return wave, captions, "event"


def _siren(rng: random.Random) -> Made:
    kind, seconds = rng.choice(("wailing", "two tone", "yelping")), rng.choice((5.0, 8.0, 9.5))
    t = time_axis(seconds)
    rate = {"wailing": 0.25, "two tone": 0.9, "yelping": 3.2}[kind] * rng.uniform(0.85, 1.15)
    swing = np.sin(2 * np.pi * rate * t - np.pi / 2)
    swing = np.sign(swing) if kind == "two tone" else swing
    wave = oscillator("square", rng.uniform(620, 800) * 2 ** (swing * (0.25 if kind == "two tone"
                      else 0.6)))  # fmt: skip
    captions = [
        f"a {kind} siren", f"a {kind} alarm siren", "an emergency siren", "a siren sounds",
        f"an electronic siren with a {kind} sound", "a siren is wailing" if kind == "wailing"
        else "a siren alarm goes on and on",
    ]  # fmt: skip
    return wave, captions, "event"


def _morse(rng: random.Random) -> Made:
    unit, at, seconds = rng.uniform(0.06, 0.1), 0.05, rng.choice((4.0, 6.0, 9.0))
    carrier = oscillator("sine", np.full(160_000, rng.uniform(550, 950)))
    wave = np.zeros(round(seconds * RATE))
    while at + 4 * unit < seconds:
        length = unit * rng.choice((1, 3))
        wave = wave + pulses(carrier, [at], length, seconds)
        at += length + unit * rng.choice((1, 1, 1, 3))
    captions = [
        "morse code", "morse code beeping", "a telegraph sends short and long beeps",
        "short and long beeps of morse code", "a radio operator sends morse code",
        "an irregular pattern of beeps",
    ]  # fmt: skip
    return wave, captions, "event"


def _telephone(rng: random.Random) -> Made:
    seconds, t = 8.0, time_axis(8.0)
    name = rng.choice(("dial tone", "busy signal", "touch tones"))
    if name == "touch tones":
        rows, columns = (697, 770, 852, 941), (1209, 1336, 1477)
        count = rng.randint(5, 10)
        seconds = 0.1 + count * 0.32
        wave = np.zeros(round(seconds * RATE))
        for k in range(count):
            pair = np.sin(2 * np.pi * rng.choice(rows) * t) + np.sin(
                2 * np.pi * rng.choice(columns) * t
            )
            wave = wave + pulses(pair, [0.05 + k * 0.32], 0.22, seconds)
        captions = ["telephone touch tones", "someone dials a phone number", "dialing a telephone",
                    f"{NUMBERS[count]} keys are pressed on a phone"]  # fmt: skip
        return wave, captions, "event"
    wave = np.sin(2 * np.pi * 425 * t) if rng.random() < 0.5 else (
        np.sin(2 * np.pi * 350 * t) + np.sin(2 * np.pi * 440 * t))  # fmt: skip
    if name == "busy signal":
        wave = pulses(wave, [0.05 + 0.7 * k for k in range(11)], 0.45, seconds)
    captions = [
        f"a telephone {name}",
        name,
        f"the {name} of a phone line",
        f"a phone gives a {name}",
    ]
    return wave, captions, "event"


def _place(sounds: list[tuple[float, Wave]], seconds: float) -> Wave:
    wave = np.zeros(round(seconds * RATE))
    for start, sound in sounds:
        part = wave[round(start * RATE) :][: len(sound)]
        part += sound[: len(part)]
    return wave


def _click(rng: random.Random, hertz: float, decay_in_s: float) -> Wave:
    t = time_axis(8 * decay_in_s)
    tone = np.sin(2 * np.pi * hertz * t) + 0.6 * np.sin(2 * np.pi * 2.31 * hertz * t)
    noise = shaped_noise(rng, 8 * decay_in_s, bump(hertz, hertz / 2))
    return (tone + noise) * np.exp(-t / decay_in_s)


def _metronome(rng: random.Random) -> Made:
    bpm, seconds = rng.randint(100, 208), rng.choice((4.0, 6.0, 9.0))
    period, accent = 60 / bpm, rng.choice((0, 3, 4))
    low, high = _click(rng, 1100, 0.025), _click(rng, 1700, 0.025)
    count = int((seconds - 0.1) / period)
    sounds = [
        (0.05 + k * period, high if accent and k % accent == 0 else low) for k in range(count)
    ]
    captions = [
        "a metronome", f"a metronome ticks at {bpm} bpm", "regular clicking", "steady clicks",
        "a metronome is ticking", f"clicks at {bpm} beats per minute",
    ]  # fmt: skip
    return _place(sounds, seconds), captions, "event"


def _clock(rng: random.Random) -> Made:
    seconds, period = rng.choice((6.0, 9.0)), rng.choice((0.25, 0.4, 0.5))
    tick, tock = _click(rng, 2600, 0.012), _click(rng, 1900, 0.012)
    sounds = [
        (0.05 + k * period, tock if k % 2 else tick) for k in range(int((seconds - 0.1) / period))
    ]
    pace = "quickly" if period < 0.3 else "steadily"
    captions = [
        "a clock is ticking", "ticking clock", "tick tock of a clock", f"a clock ticks {pace}",
        "the regular ticking of a clock", "ticking",
    ]  # fmt: skip
    return _place(sounds, seconds), captions, "event"


def _heartbeat(rng: random.Random) -> Made:
    bpm, seconds = rng.randint(55, 130), rng.choice((5.0, 8.0, 9.5))
    t = time_axis(0.3)
    thump = np.sin(2 * np.pi * (42 * t + 1.6 * (1 - np.exp(-t / 0.03)))) * np.exp(-t / 0.07)
    period = 60 / bpm
    beats = [0.05 + k * period for k in range(int((seconds - 0.4) / period))]
    sounds = [(b, thump) for b in beats] + [(b + 0.3 * period, 0.7 * thump) for b in beats]
    pace = "slow" if bpm < 75 else "fast" if bpm > 100 else "regular"
    captions = [
        "a heartbeat", f"a {pace} heartbeat", "a heart is beating", "low double thumps",
        f"a heart beats at {bpm} beats per minute", f"{pace} low thumping of a heart",
    ]  # fmt: skip
    return _place(sounds, seconds), captions, "event"


def _knocks(rng: random.Random) -> Made:
    count, period = rng.randint(2, 8), rng.uniform(0.2, 0.42)
    knock = _click(rng, rng.uniform(160, 320), 0.03)
    sounds = [(0.1 + k * period, knock * rng.uniform(0.8, 1.0)) for k in range(count)]
    number = NUMBERS[count]
    captions = [
        f"{number} knocks", f"someone knocks {number} times", "knocking", "knocking on a door",
        f"{number} knocks on wood", "dull knocks in a row",
    ]  # fmt: skip
    return _place(sounds, 0.3 + count * period), captions, "event"


def _laser(rng: random.Random) -> Made:
    count, period = rng.randint(1, 8), rng.uniform(0.35, 0.7)
    length = period * 0.9
    t = time_axis(length)
    top, bottom = rng.uniform(2500, 5000), rng.uniform(120, 300)
    sweep = bottom + (top - bottom) * np.exp(-t / (length * 0.25))
    shot = oscillator(rng.choice(("square", "saw", "sine")), sweep) * np.exp(-t / (length * 0.5))
    shots = [(0.05 + k * period, shot) for k in range(count)]
    number = NUMBERS[count]
    times = "once" if count == 1 else f"{number} times"
    captions = [
        f"{number} laser shot{'s' if count > 1 else ''}", f"a laser gun fires {times}",
        "science fiction laser sound", "video game laser sound", "a falling electronic chirp"
        if count == 1 else f"{number} falling electronic chirps", "pew pew" if count > 1 else "pew",
    ]  # fmt: skip
    return _place(shots, 0.2 + count * period), captions, "event"


def _bell(rng: random.Random) -> Made:
    count, base = rng.randint(1, 6), rng.uniform(180, 900)
    size = "large" if base < 350 else "small" if base > 650 else ""
    period, ring = rng.uniform(0.9, 1.6), rng.uniform(0.7, 1.4)
    seconds = min(10.0, (count - 1) * period + 3.0)
    count = min(count, int((seconds - 0.6) / period) + 1)
    t = time_axis(3.0)
    partials = ((0.5, 0.7, 1.5), (1, 1, 1), (1.19, 0.8, 0.9), (1.5, 0.4, 0.6), (2, 0.7, 0.5),
                (2.74, 0.4, 0.3), (3.76, 0.25, 0.2))  # fmt: skip
    strike = sum(
        (a * np.sin(2 * np.pi * base * r * t) * np.exp(-t / (ring * d)) for r, a, d in partials),
        t * 0,
    )
    sounds = [(0.05 + k * period, strike) for k in range(count)]
    sized = f"{size} bell".strip()
    times = "once" if count == 1 else f"{NUMBERS[count]} times"
    captions = [
        f"a {sized} rings", f"a {sized} is struck {times}", f"a bell rings {times}", "a bell",
        f"the ringing of a {sized}", "the metallic sound of a bell",
    ]  # fmt: skip
    return _place(sounds, seconds), captions, "event"


def _chirps(rng: random.Random) -> Made:
    seconds, at = rng.choice((5.0, 8.0)), 0.05
    sounds: list[tuple[float, Wave]] = []
    while at < seconds - 0.5:
        t = time_axis(rng.uniform(0.07, 0.2))
        u = t / t[-1]
        pitch = rng.uniform(2200, 4500) * (1 + rng.uniform(-0.3, 0.3) * u)
        pitch = pitch * (1 + rng.choice((0, 0.08)) * np.sin(2 * np.pi * 30 * t))
        sounds.append((at, oscillator("sine", pitch) * np.sin(np.pi * u) ** 0.7))
        at += t[-1] + rng.choice((0.03, 0.05, 0.15, 0.3))
    captions = [
        "electronic bird chirps", "high chirping sounds", "a synthetic bird is chirping",
        "twittering electronic chirps", "short high whistling chirps", "chirping",
    ]  # fmt: skip
    return _place(sounds, seconds), captions, "event"


def _alarm_clock(rng: random.Random) -> Made:
    seconds, hertz = rng.choice((4.0, 6.0, 9.0)), rng.uniform(1800, 2600)
    carrier = oscillator("square", np.full(round(10 * RATE), hertz))
    count = int((seconds - 0.6) / 0.75)
    starts = [0.05 + 0.75 * k + 0.13 * j for k in range(count) for j in range(4)]
    wave = pulses(carrier, starts, 0.08, 0.75 * count + 0.1)
    captions = [
        "an alarm clock beeps", "a digital alarm clock", "groups of four fast beeps", "alarm",
        "an electronic alarm goes off", "high pitched alarm clock beeping",
    ]  # fmt: skip
    return wave, captions, "event"


def _sonar(rng: random.Random) -> Made:
    count, period = rng.randint(1, 4), rng.uniform(1.6, 2.2)
    t = time_axis(2.2)
    ping = np.sin(2 * np.pi * rng.uniform(900, 1500) * t) * np.exp(-t / 0.5)
    sounds = [(0.05 + k * period, ping) for k in range(count)]
    pings = "one ping" if count == 1 else f"{NUMBERS[count]} pings"
    captions = [
        "a sonar ping" if count == 1 else "sonar pings", f"{pings} of a submarine sonar",
        "submarine sonar", f"{pings} that slowly fade away", "an echoing electronic ping",
    ]  # fmt: skip
    return _place(sounds, count * period), captions, "event"


SIGNALS: dict[str, Callable[[random.Random], Made]] = {
    "tone": _tone, "sweep": _sweep, "beeps": _beeps, "siren": _siren, "morse": _morse,
    "telephone": _telephone, "metronome": _metronome, "clock": _clock, "heartbeat": _heartbeat,
    "knocks": _knocks, "laser": _laser, "bell": _bell, "chirps": _chirps,
    "alarm clock": _alarm_clock, "sonar": _sonar,
}  # fmt: skip
"""Makers of events by name."""
