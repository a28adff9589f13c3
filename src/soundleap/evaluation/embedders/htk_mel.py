"""Mel filters that are triangles on the HTK mel axis, and the log-mel of Google's audio models."""

from __future__ import annotations

import functools

import numpy as np

from soundleap.evaluation.embedders.base import FloatArray

SAMPLING_RATE = 16000
WINDOW, HOP, FFT = 400, 160, 512
MELS, LOW_HZ, HIGH_HZ = 64, 125.0, 7500.0
PATCH_FRAMES = 96
PATCH_SAMPLES = WINDOW + (PATCH_FRAMES - 1) * HOP


def google_log_mel(waveform: FloatArray, offset: float) -> FloatArray:
    """Compute ``ln(mel magnitude + offset)`` of a waveform [S] at 16 kHz: [F, 64] float32.

    S is at least 400. Frames of 25 ms every 10 ms from the first sample on, periodic Hann window;
    the DC bin counts nowhere.

    Source: `tensorflow/models/research/audioset` (VGGish: offset 0.01; YAMNet: 0.001).
    """
    frames = np.lib.stride_tricks.sliding_window_view(waveform.astype(np.float64), WINDOW)[::HOP]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
    filters = htk_filters(SAMPLING_RATE, FFT, MELS, LOW_HZ, HIGH_HZ)
    return np.log(np.abs(np.fft.rfft(frames * window, FFT)) @ filters + offset).astype(np.float32)


@functools.cache
def htk_filters(rate: int, n_fft: int, mels: int, low_hz: float, high_hz: float) -> FloatArray:
    """Triangles of height 1 that are linear on the HTK mel axis, [n_fft // 2 + 1, mels].

    The DC bin counts nowhere.
    """
    bins = _to_mel(np.linspace(0.0, rate / 2, n_fft // 2 + 1))[:, None]
    ends = _to_mel(np.array([low_hz, high_hz]))
    edges = np.linspace(float(ends[0]), float(ends[1]), mels + 2)
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    triangles = np.minimum((bins - low) / (centre - low), (high - bins) / (high - centre))
    matrix = np.maximum(triangles, 0.0)
    matrix[0] = 0.0
    return matrix


def _to_mel(hz: FloatArray) -> FloatArray:
    return np.log1p(hz / 700.0)  # any factor cancels in the triangles
