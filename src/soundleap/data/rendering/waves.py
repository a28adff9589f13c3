"""Building blocks of the formula-made sounds: noise, oscillators, envelopes, all at 16 kHz."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Wave = NDArray[np.float64]
Made = tuple[Wave, list[str], str]
"""A sound, its possible captions, and its kind."""
RATE = 16_000


def draw_seconds(rng: random.Random) -> float:
    """Draw a length in seconds."""
    return rng.choice((3.0, 5.0, 8.0, 9.5, 9.5))


def time_axis(seconds: float) -> Wave:
    """Give the time in seconds of every sample."""
    return np.arange(round(seconds * RATE)) / RATE


def white_noise(rng: random.Random, seconds: float) -> Wave:
    """Draw white noise of unit variance."""
    return np.random.default_rng(rng.getrandbits(64)).standard_normal(round(seconds * RATE))


def shaped_noise(rng: random.Random, seconds: float, gain: Callable[[Wave], Wave]) -> Wave:
    """Filter white noise by a gain over frequency in hertz; unit RMS."""
    noise = white_noise(rng, seconds)
    frequency = np.fft.rfftfreq(len(noise), 1 / RATE).astype(np.float64)
    spectrum = np.fft.rfft(noise) * gain(frequency)
    shaped = np.fft.irfft(spectrum, len(noise))
    return shaped / np.sqrt(np.mean(shaped**2))


def slope(power: float) -> Callable[[Wave], Wave]:
    """Make the gain frequency ** -power, nothing below 20 Hz (0.5 is pink, 1 is brown)."""
    return lambda f: np.where(f < 20, 0.0, np.maximum(f, 20.0) ** -power)


def bump(centre: float, width: float) -> Callable[[Wave], Wave]:
    """Make a gain that is a band around a centre, both in hertz, on a faint pink floor."""
    return lambda f: np.exp(-0.5 * ((f - centre) / width) ** 2) + 0.02 * slope(0.5)(f)


def oscillator(shape: str, frequency: Wave) -> Wave:
    """Make a "sine", "square" or "saw" whose frequency in hertz is given at every sample.

    Square and saw are sums of sines below half the sampling rate: no aliases.
    """
    phase = 2 * np.pi * np.cumsum(frequency) / RATE
    if shape == "sine":
        return np.sin(phase)
    steps = range(1, 60, 2 if shape == "square" else 1)
    harmonics = (np.sin(k * phase) / k * (k * frequency < 7800) for k in steps)
    return np.sum(list(harmonics), axis=0)


def slow_curve(rng: random.Random, seconds: float, points_per_s: float) -> Wave:
    """Draw a smooth random curve between 0 and 1."""
    count = max(3, round(seconds * points_per_s) + 2)
    draws = np.array([rng.random() for _ in range(count)])
    at = np.linspace(0, count - 1, round(seconds * RATE))
    low = np.minimum(at.astype(int), count - 2)
    blend = 0.5 - 0.5 * np.cos(np.pi * (at - low))
    return draws[low] * (1 - blend) + draws[low + 1] * blend


def pulses(wave: Wave, starts: list[float], length: float, seconds: float) -> Wave:
    """Let a wave through for `length` seconds from each start, silence between."""
    envelope = np.zeros(round(seconds * RATE))
    ramp = round(0.004 * RATE)
    shape = np.ones(round(length * RATE))
    shape[:ramp], shape[-ramp:] = np.linspace(0, 1, ramp), np.linspace(1, 0, ramp)
    for start in starts:
        first = round(start * RATE)
        part = envelope[first : first + len(shape)]
        part[:] = shape[: len(part)]
    return wave[: len(envelope)] * envelope
