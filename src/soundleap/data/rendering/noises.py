"""Noises and the choice among all formula-made sounds; captions follow from the parameters."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from soundleap.data.rendering.rooms import reverberate
from soundleap.data.rendering.signals import SIGNALS
from soundleap.data.rendering.waves import (
    RATE,
    Made,
    bump,
    draw_seconds,
    shaped_noise,
    slope,
    slow_curve,
    time_axis,
    white_noise,
)  # fmt: skip


@dataclass(frozen=True)
class Noise:
    """A sound (mono float32 [S] at 16 kHz, unnormalised), its captions and its kind."""

    waveform: NDArray[np.float32]
    captions: tuple[str, ...]
    kind: str


def make_noise(rng: random.Random) -> Noise:
    """Draw one noise, tone or signal of 1 to 10 seconds; events end in a room, cut at 10 s."""
    name = rng.choice(list(MAKERS))
    waveform, captions, kind = MAKERS[name](rng)
    sound = waveform.astype(np.float32)
    if kind == "event":
        sound[-80:] *= np.linspace(1, 0, 80, dtype=np.float32)  # no click before the room's answer
        sound = reverberate(rng, sound, RATE, decay_in_s=rng.uniform(0.8, 1.4), wet=0.3)
    sound = sound[: 10 * RATE]
    total = rng.randint(4, 6)
    return Noise(sound, tuple(rng.sample(captions, min(total, len(captions)))), kind)


def _colour(rng: random.Random) -> Made:
    name, power, words = rng.choice(
        (("white", 0.0, "bright hissing"), ("pink", 0.5, "soft rushing"), ("brown", 1.0, "deep"))
    )
    wave = shaped_noise(rng, draw_seconds(rng), slope(power))
    captions = [
        f"{name} noise", f"steady {name} noise", f"a constant {words} noise", "noise",
        f"the sound of {name} noise", f"continuous {words} noise",
    ]  # fmt: skip
    return wave, captions, "ambience"


def _hum(rng: random.Random) -> Made:
    base = rng.choice((50.0, 60.0, 100.0, 120.0))
    t = time_axis(draw_seconds(rng))
    wave = sum((np.sin(2 * np.pi * base * k * t) / k**1.3 for k in (1, 2, 3, 4, 5, 7)), t * 0)
    wave = wave + 0.03 * white_noise(rng, len(t) / RATE)
    captions = [
        "a low electrical hum", f"mains hum at {base:.0f} hertz", "a transformer is humming",
        "steady low hum", "a machine hums quietly", "constant buzzing hum",
    ]  # fmt: skip
    return wave, captions, "ambience"


def _crackle(rng: random.Random) -> Made:
    seconds, dense = draw_seconds(rng), rng.random() < 0.5
    draws = np.random.default_rng(rng.getrandbits(64))
    size = round(seconds * RATE)
    clicks = (draws.random(size) < (0.004 if dense else 0.0008)) * draws.exponential(1.0, size)
    decay = np.exp(-np.arange(60) / 9.0) * draws.standard_normal(60)
    wave = np.tanh(1.5 * np.convolve(clicks, decay)[:size])
    wave = wave + shaped_noise(rng, seconds, slope(0.3)) * 0.03
    how = "dense" if dense else "sparse"
    captions = [
        "static crackle", f"{how} crackling", "crackling static on an old radio", "crackling",
        "the crackle of an old vinyl record", f"{how} pops and crackles",
    ]  # fmt: skip
    return wave, captions, "ambience"


def _wind(rng: random.Random) -> Made:
    seconds, strong = rng.choice((6.0, 9.5, 9.5)), rng.random() < 0.5
    bands = [(250.0, 90.0), (450.0, 150.0), (800.0, 260.0)]
    wave = np.zeros(round(seconds * RATE))
    for centre, width in bands:
        gain = bump(centre * rng.uniform(0.8, 1.25), width)
        gusts = 0.15 + slow_curve(rng, seconds, 0.9 if strong else 0.5) ** 2
        wave = wave + shaped_noise(rng, seconds, gain) * gusts * (250 / centre) ** 0.5
    how = "strong" if strong else "gentle"
    captions = [
        f"{how} wind", f"a {how} wind blows", "wind is blowing", "howling wind" if strong else
        "a soft breeze", "gusts of wind", f"the sound of {how} wind outside",
    ]  # fmt: skip
    return wave, captions, "ambience"


def _waves(rng: random.Random) -> Made:
    seconds = 9.5
    swell = 0.12 + slow_curve(rng, seconds, 0.45) ** 2
    wave = shaped_noise(rng, seconds, slope(0.5)) * swell
    captions = [
        "ocean waves", "waves roll onto a beach", "the sea", "slow waves of rushing noise",
        "surf at the shore", "waves come and go",
    ]  # fmt: skip
    return wave, captions, "ambience"


def _helicopter(rng: random.Random) -> Made:
    t, rate = time_axis(draw_seconds(rng)), rng.uniform(9, 15)
    chop = np.exp(-((t * rate) % 1.0) * 4)
    wave = shaped_noise(rng, len(t) / RATE, bump(150, 120)) * (0.15 + chop)
    captions = [
        "a helicopter", "the chopping sound of rotor blades", "a helicopter hovers",
        "low rhythmic chopping noise", "fast pulsing low noise", "a helicopter flies overhead",
    ]  # fmt: skip
    return wave, captions, "ambience"


def _engine(rng: random.Random) -> Made:
    seconds, revving = draw_seconds(rng), rng.random() < 0.5
    curve = slow_curve(rng, seconds, 0.8) if revving else slow_curve(rng, seconds, 2.0) * 0.05
    rate = rng.uniform(22, 40) * (1 + 1.8 * curve)
    phase = np.cumsum(rate) / RATE
    wave = sum((np.sin(2 * np.pi * k * phase + k * k) / k**0.8 for k in range(1, 16)), phase * 0)
    wave = wave + 0.5 * shaped_noise(rng, seconds, slope(0.7)) * (1 + np.sin(2 * np.pi * phase))
    how = "revving" if revving else "idling"
    captions = [
        "an engine", f"an {how} engine" if how == "idling" else "a revving engine",
        f"a motor is {how}", f"an engine is {how}", "the rumble of a motor", "a motor runs",
    ]  # fmt: skip
    return wave, captions, "ambience"


MAKERS: dict[str, Callable[[random.Random], Made]] = SIGNALS | {
    "colour": _colour, "hum": _hum, "crackle": _crackle, "wind": _wind, "waves": _waves,
    "helicopter": _helicopter, "engine": _engine,
}  # fmt: skip
"""All makers of sounds by name."""
