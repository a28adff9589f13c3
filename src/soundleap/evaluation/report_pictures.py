"""Spectrograms for reports: small pictures for pages, and a grid as one file."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from soundleap.audio.picture import colourise, encode_png
from soundleap.errors import InputError
from soundleap.evaluation.record_io import write_atomically

FloatArray = NDArray[np.floating[Any]]

COLUMNS, ROWS = 240, 96
"""Size of a small picture, in pixels."""
FLOOR_IN_DB = -80.0


def picture_url(waveform: FloatArray, sampling_rate: int) -> str:
    """Draw a waveform [S] as a PNG data URL: mel-spaced frequency over time, 80 dB deep."""
    levels = spectrogram(waveform)
    loudest = float(levels.max())
    columns = np.linspace(0, levels.shape[1] - 1, COLUMNS).round().astype(int)
    image = _mel_rows(levels, sampling_rate)[:, columns]
    values = np.clip((image - loudest) / -FLOOR_IN_DB + 1, 0, 1).astype(np.float32)
    png = encode_png(colourise(values[::-1]))
    return "data:image/png;base64," + base64.b64encode(png).decode()


def spectrogram(waveform: FloatArray) -> FloatArray:
    """Compute magnitudes in dB [513, F], a full-scale sine at 0, not below -100."""
    size, hop = 1024, 256
    padded = np.pad(waveform, (0, max(0, size - waveform.size)))
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop]
    magnitude = np.abs(np.fft.rfft(frames * np.hanning(size))) * (4 / size)
    return 20 * np.log10(np.maximum(magnitude.T, 1e-5))


def spectrogram_grid(
    waveforms: Sequence[FloatArray],
    titles: Sequence[str],
    path: str | Path,
    *,
    sampling_rate: int = 16000,
    columns: int = 4,
) -> None:
    """Draw the spectrograms of waveforms [S_i] as a grid, dB over time and frequency, into a PNG.

    Raises:
        InputError: no waveforms, counts differ, or columns < 1.
    """
    if not waveforms or len(waveforms) != len(titles) or columns < 1:
        raise InputError(
            f"{len(waveforms)} waveforms, {len(titles)} titles, {columns} columns; "
            "allowed: one title a waveform, at least one of each"
        )
    from matplotlib.figure import Figure

    width = min(columns, len(waveforms))
    rows = -(-len(waveforms) // width)
    figure: Any = Figure(figsize=(3.2 * width, 2.2 * rows), layout="constrained")
    axes: Any = figure.subplots(rows, width, squeeze=False).ravel()
    for axis in axes[len(waveforms) :]:
        axis.set_axis_off()
    for axis, waveform, title in zip(axes, waveforms, titles, strict=False):
        extent = (0, waveform.size / sampling_rate, 0, sampling_rate / 2000)
        axis.imshow(
            spectrogram(waveform), origin="lower", aspect="auto", extent=extent, vmin=-100, vmax=0
        )
        axis.set_title(title, fontsize=8)
    figure.supxlabel("seconds", fontsize=8)
    figure.supylabel("kHz", fontsize=8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    write_atomically(Path(path), buffer.getvalue())


def _mel_rows(levels: FloatArray, sampling_rate: int) -> FloatArray:
    """Warp bins [K, F] to mel-spaced rows [ROWS, F], lowest first, loudest bin of each band."""
    top = 2595 * np.log10(1 + sampling_rate / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, ROWS + 1) / 2595) - 1)
    bins = edges / (sampling_rate / 2) * (len(levels) - 1)
    rows: list[FloatArray] = []
    for low, high in pairwise(bins):
        first, last = int(np.floor(low)), int(np.ceil(high))
        if high - low > 1:
            rows.append(levels[first : last + 1].max(axis=0))
        else:
            place = min((low + high) / 2, len(levels) - 1.001)
            part = place - int(place)
            rows.append((1 - part) * levels[int(place)] + part * levels[int(place) + 1])
    return np.stack(rows)
