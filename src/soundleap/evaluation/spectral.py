"""Spectral distances between a waveform and its reconstruction of the same length."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from soundleap.errors import InputError, NotFiniteError

FloatArray = NDArray[np.floating[Any]]

RESOLUTIONS = ((512, 240, 50), (1024, 600, 120), (2048, 1200, 240))
"""(n_fft, window, hop) in samples: Parallel WaveGAN's three resolutions."""


def log_spectral_distance(
    waveform: FloatArray,
    reference: FloatArray,
    *,
    n_fft: int = 1024,
    hop_length: int = 256,
    floor_db: float = -100.0,
) -> float:
    """Mean over frames of the RMS over bins of the power spectra's difference in dB.

    ``mean_t sqrt(mean_f (10 log10 (P_x / P_y))^2)``; a gain of 2 gives 6.02. Both powers are
    raised to at least the floor, so bins that are silent in both count as equal. The last frame
    is completed with zeros.

    Source: Gray and Markel 1976, "Distance measures for speech processing", eq. 5 with p = 2.

    Args:
        waveform: [S] float in [-1, 1].
        reference: [S].
        n_fft: periodic Hann window and transform length in samples.
        hop_length: samples between frames.
        floor_db: level below a full-scale sine under which nothing is compared.

    Raises:
        InputError: lengths differ or are 0.
        NotFiniteError: NaN or infinity.
    """
    _check_pair(waveform, reference)
    levels = [
        20 * np.log10(np.maximum(_magnitude(x, n_fft, n_fft, hop_length), 10 ** (floor_db / 20)))
        for x in (waveform, reference)
    ]
    return float(np.sqrt(((levels[0] - levels[1]) ** 2).mean(axis=1)).mean())


def mel_l1(waveform: FloatArray, reference: FloatArray) -> float:
    """Mean absolute difference of the default codec's log10-mel spectrograms (`audio.mel.LogMel`).

    The unit is log10 of the magnitude: 0.1 is 2 dB. The waveforms, at the codec's 16 kHz, are
    completed with zeros to a whole number of hops.

    Raises:
        InputError: lengths differ, or are below one mel window (1024 samples).
        NotFiniteError: NaN or infinity.
    """
    import torch

    from soundleap.audio.mel import LogMel, MelConfig

    _check_pair(waveform, reference)
    config = MelConfig()
    if waveform.size < config.n_fft:
        raise InputError(f"waveform has {waveform.size} samples; allowed: {config.n_fft} or more")
    pair = np.stack([waveform, reference]).astype(np.float32)
    padded = np.pad(pair, ((0, 0), (0, -waveform.size % config.hop_length)))
    with torch.no_grad():
        mel = LogMel(config)(torch.tensor(padded))
    return float((mel[0] - mel[1]).abs().mean())


def multi_resolution_stft_distance(
    waveform: FloatArray,
    reference: FloatArray,
    *,
    resolutions: tuple[tuple[int, int, int], ...] = RESOLUTIONS,
) -> float:
    """Spectral convergence plus log-magnitude L1, averaged over resolutions.

    ``|| |Y| - |X| ||_F / || |Y| ||_F  +  mean |ln |Y| - ln |X||`` with Y the reference; magnitudes
    are raised to at least -100 dB of a full-scale sine. Not symmetric.

    Source: Yamamoto et al. 2020, "Parallel WaveGAN", arXiv 1910.11480, eqs. 4 to 6.

    Args:
        waveform: [S] float in [-1, 1].
        reference: [S]; not silent.
        resolutions: (n_fft, window, hop) in samples.

    Raises:
        InputError: lengths differ or are 0, or the reference is silent.
        NotFiniteError: NaN or infinity.
    """
    _check_pair(waveform, reference)
    if not np.any(reference):
        raise InputError("reference is silent; its spectral convergence is not defined")
    total = 0.0
    for resolution in resolutions:
        x, y = (np.maximum(_magnitude(w, *resolution), 1e-5) for w in (waveform, reference))
        total += float(np.linalg.norm(y - x) / np.linalg.norm(y))
        total += float(np.abs(np.log(y) - np.log(x)).mean())
    return total / len(resolutions)


def _magnitude(waveform: FloatArray, n_fft: int, window: int, hop_length: int) -> FloatArray:
    """Magnitudes [frames, n_fft // 2 + 1]; a full-scale sine on a bin has magnitude 1."""
    beyond = max(waveform.size - window, 0)
    size = window + -(-beyond // hop_length) * hop_length
    padded = np.pad(waveform.astype(np.float64), (0, size - waveform.size))
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop_length]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    return np.abs(np.fft.rfft(frames * hann, n_fft)) * (2 / hann.sum())


def _check_pair(waveform: FloatArray, reference: FloatArray) -> None:
    if waveform.ndim != 1 or waveform.shape != reference.shape or waveform.size == 0:
        raise InputError(
            f"waveform {list(waveform.shape)} and reference {list(reference.shape)} must both be "
            "[S] with the same S >= 1; cut or align them first"
        )
    if not (np.isfinite(waveform).all() and np.isfinite(reference).all()):
        raise NotFiniteError("waveform or reference holds NaN or infinity")
