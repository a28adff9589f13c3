"""Waveform from a mel spectrogram without weights: inverse filterbank, then phase by iteration."""

from __future__ import annotations

import torch
from torch import Tensor

from soundleap.audio.stft import istft, stft


def magnitude_from_mel(mel: Tensor, filterbank: Tensor, iterations: int = 20) -> Tensor:
    """Invert a mel filterbank with non-negative least squares.

    Multiplicative updates keep the estimate non-negative.
    Source: Lee and Seung, Algorithms for Non-negative Matrix Factorization (2001), equation 4.

    Args:
        mel: ``[B, M, F]`` log10 values.
        filterbank: ``[M, K]``.
        iterations: number of updates.

    Returns:
        ``[B, K, F]`` magnitudes.
    """
    target = 10.0**mel
    numerator = filterbank.T @ target
    coverage = filterbank.sum(0)[:, None]
    estimate = numerator / coverage.clamp_min(1e-8)  # a smooth positive start
    for _ in range(iterations):
        estimate = estimate * numerator / (filterbank.T @ (filterbank @ estimate)).clamp_min(1e-10)
    return estimate


def griffin_lim(
    magnitude: Tensor,
    window: Tensor,
    hop_length: int,
    *,
    initial_phase: Tensor,
    iterations: int = 32,
    momentum: float = 0.0,
) -> Tensor:
    """Find a spectrum of the given magnitude whose phase is consistent with a real signal.

    Source: Griffin and Lim (1984); momentum after Perraudin, Balazs and Søndergaard, A Fast
    Griffin-Lim Algorithm (2013).

    Args:
        magnitude: ``[B, K, F]``.
        window: ``[n_fft]``.
        hop_length: samples between frames.
        initial_phase: ``[B, K, F]`` angles in radians.
        iterations: number of projections; 0 gives the initial phase.
        momentum: 0 is the classic algorithm.

    Returns:
        The complex spectrum ``[B, K, F]``: `magnitude` with the phase found.
    """
    phase = torch.polar(torch.ones_like(initial_phase), initial_phase)
    previous = torch.zeros_like(phase)
    for _ in range(iterations):
        consistent = stft(istft(magnitude * phase, window, hop_length), window, hop_length)
        ahead = consistent - (momentum / (1.0 + momentum)) * previous
        phase = ahead / ahead.abs().clamp_min(1e-8)
        previous = consistent
    return magnitude * phase
