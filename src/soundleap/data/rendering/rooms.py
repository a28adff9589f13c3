"""Small operations on waveforms that the renderers share: rooms, levels, trimming, fades."""

from __future__ import annotations

import random

import numpy as np
from numpy.typing import NDArray

from soundleap.errors import SoundleapError


def _draws(rng: random.Random) -> np.random.Generator:
    return np.random.default_rng(rng.getrandbits(64))


def reverberate(
    rng: random.Random,
    waveform: NDArray[np.float32],
    sampling_rate: int,
    *,
    decay_in_s: float,
    wet: float,
) -> NDArray[np.float32]:
    """Add a room: exponentially decaying noise with a 60 dB decay time in seconds.

    Args:
        rng: draws the room.
        waveform: mono [S].
        sampling_rate: in hertz.
        decay_in_s: time in which the room's answer falls by 60 dB; the result is longer by half.
        wet: energy of the room against the direct sound, 0 to 1.
    """
    time = np.arange(round(decay_in_s * sampling_rate)) / sampling_rate
    answer = _draws(rng).standard_normal(len(time)) * 10 ** (-3 * time / decay_in_s)
    answer *= wet / np.sqrt(np.sum(answer**2))
    answer[0] += 1.0
    length = len(waveform) + len(answer) // 2
    size = 1 << (len(waveform) + len(answer)).bit_length()
    product = np.fft.rfft(waveform, size) * np.fft.rfft(answer, size)
    return np.fft.irfft(product, size)[:length].astype(np.float32)


def trim_silence(waveform: NDArray[np.float32], sampling_rate: int) -> NDArray[np.float32]:
    """Cut what lies before and after the sound (60 dB below the peak), keeping 50 ms of margin.

    Raises:
        SoundleapError: there is nothing but silence.
    """
    peak = float(np.max(np.abs(waveform), initial=0.0))
    if peak < 1e-6:
        raise SoundleapError("the renderer gave silence")
    loud = np.flatnonzero(np.abs(waveform) > peak * 1e-3)
    margin = round(0.05 * sampling_rate)
    return waveform[max(0, loud[0] - margin) : loud[-1] + margin]


def finish(
    rng: random.Random, waveform: NDArray[np.float32], sampling_rate: int
) -> NDArray[np.float32]:
    """Set the level (RMS drawn from -24 to -17 dBFS, peak at most 0.95) and fade both ends.

    Raises:
        SoundleapError: the sound is silent or not finite.
    """
    peak = float(np.max(np.abs(waveform), initial=0.0))
    if not np.isfinite(peak) or peak < 1e-5:
        raise SoundleapError(f"the rendered sound has peak {peak:g}")
    rms = float(np.sqrt(np.mean(np.square(waveform, dtype=np.float64))))
    gain = min(10 ** (rng.uniform(-24, -17) / 20) / rms, 0.95 / peak)
    fade_in, fade_out = round(0.005 * sampling_rate), round(0.06 * sampling_rate)
    shaped = waveform * np.float32(gain)
    shaped[:fade_in] *= np.linspace(0, 1, fade_in, dtype=np.float32)
    shaped[-fade_out:] *= np.linspace(1, 0, fade_out, dtype=np.float32)
    return shaped
