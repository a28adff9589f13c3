"""The vocoder's transforms and its search for a phase, in NumPy.

The same as `soundleap.audio.stft` and `soundleap.models.griffin_lim`, which hold the sources.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Complex = NDArray[np.complex64]


class Transform:
    """Short-time Fourier transform ``[S] <-> [K, F]`` with a Hann window, S = F · hop_length."""

    def __init__(self, n_fft: int, hop_length: int, frames: int) -> None:
        """Prepare for sounds of so many frames."""
        self.n_fft, self.hop, self.frames = n_fft, hop_length, frames
        steps = np.arange(n_fft)
        window = 0.5 - 0.5 * np.cos(2 * math.pi * steps / n_fft)
        self.window: Floats = window.astype(np.float32)
        self.side = (n_fft - hop_length) // 2
        power = np.broadcast_to(self.window**2, (frames, n_fft))
        self.envelope = np.maximum(self._overlap_add(power), np.float32(1e-8))

    def forward(self, waveform: Floats) -> Complex:
        """Give the spectrum ``[F, K]``."""
        padded = np.pad(waveform, self.side, mode="reflect")
        pieces = np.lib.stride_tricks.sliding_window_view(padded, self.n_fft)[:: self.hop]
        return np.fft.rfft(pieces * self.window, axis=1).astype(np.complex64, copy=False)

    def inverse(self, spectrum: Complex) -> Floats:
        """Give the waveform of a spectrum ``[F, K]``."""
        pieces = np.fft.irfft(spectrum, n=self.n_fft, axis=1).astype(np.float32, copy=False)
        return self._overlap_add(pieces * self.window) / self.envelope

    def _overlap_add(self, pieces: Floats) -> Floats:
        """Add frames ``[F, n_fft]`` at their places; cut to ``[F · hop_length]``."""
        parts = -(-self.n_fft // self.hop)
        total = np.zeros((self.frames + parts - 1, self.hop), np.float32)
        short = parts * self.hop - self.n_fft
        padded = np.pad(pieces, ((0, 0), (0, short))) if short else pieces
        cut = padded.reshape(self.frames, parts, self.hop)
        for part in range(parts):
            total[part : part + self.frames] += cut[:, part]
        return total.reshape(-1)[self.side : self.side + self.frames * self.hop]


def find_phase(
    magnitude: Floats,
    initial_phase: Floats,
    transform: Transform,
    iterations: int,
    momentum: float,
) -> Complex:
    """Give `magnitude` with the phase that Griffin and Lim's iteration finds; all ``[F, K]``."""
    phase = np.exp(1j * initial_phase).astype(np.complex64)
    previous = np.zeros_like(phase)
    share = np.float32(momentum / (1.0 + momentum))
    for _ in range(iterations):
        consistent = transform.forward(transform.inverse(magnitude * phase))
        ahead = consistent - share * previous
        phase = ahead / np.maximum(np.abs(ahead), np.float32(1e-8))
        previous = consistent
    return magnitude * phase
