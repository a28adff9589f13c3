"""Spectrograms as PNG files, without a plotting library."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from soundleap.audio.io import write_bytes

ROWS_A_BIN = 3
COLUMNS_A_FRAME = 2
LOWEST, HIGHEST = -4.5, 1.0  # log10 of mel magnitude, black to white
_COLOURS = np.array(
    [[0, 0, 8], [32, 16, 84], [96, 24, 118], [168, 44, 104], [226, 88, 62], [250, 168, 64],
     [252, 244, 200]], dtype=np.float64
)  # fmt: skip


def colourise(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Map values in [0, 1], ``[H, W]``, to colours ``[H, W, 3]``; others take the nearest end."""
    places = np.linspace(0, 1, len(_COLOURS))
    channels = [np.interp(values, places, _COLOURS[:, i]) for i in range(3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """Encode ``[H, W, 3]`` as an 8-bit RGB PNG.

    Source: W3C, Portable Network Graphics (second edition), sections 5 and 11.
    """
    height, width, _ = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = np.zeros((height, 1 + 3 * width), dtype=np.uint8)  # each row starts with filter type 0
    rows[:, 1:] = pixels.reshape(height, -1)
    body = zlib.compress(rows.tobytes(), 9)
    chunks = _chunk(b"IHDR", header) + _chunk(b"IDAT", body) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def spectrogram_png(mel: NDArray[np.float32]) -> bytes:
    """Draw a log10-mel spectrogram ``[M, F]``, low frequencies at the bottom."""
    values = (mel[::-1] - LOWEST) / (HIGHEST - LOWEST)
    enlarged = values.repeat(ROWS_A_BIN, axis=0).repeat(COLUMNS_A_FRAME, axis=1)
    return encode_png(colourise(enlarged))


def write_spectrogram(
    path: str | Path, waveform: NDArray[np.float32], sampling_rate: int, *, overwrite: bool = False
) -> Path:
    """Write the mel spectrogram of a waveform's first channel as PNG, whole or not at all.

    Args:
        path: where to; missing folders are made.
        waveform: ``[C, S] float32``; silence fills the last frame.
        sampling_rate: in Hz.
        overwrite: replace what is there.

    Raises:
        InputError: if the file exists and `overwrite` is off.
        AudioFileError: if it can't be written.
    """
    import torch

    from soundleap.audio.mel import LogMel, MelConfig

    config = MelConfig(sampling_rate=sampling_rate, f_max_in_hz=sampling_rate / 2)
    samples = torch.from_numpy(waveform[:1].copy())
    padded = torch.nn.functional.pad(samples, (0, -samples.shape[1] % config.hop_length))
    write_bytes(Path(path), spectrogram_png(LogMel(config)(padded)[0].numpy()), overwrite=overwrite)
    return Path(path)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
