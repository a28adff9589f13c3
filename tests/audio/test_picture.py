from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from soundleap.audio.picture import colourise, encode_png, spectrogram_png, write_spectrogram
from soundleap.errors import InputError


def decode_png(data: bytes) -> np.ndarray:
    """Read what `encode_png` writes, checksums included: unfiltered 8-bit RGB."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    chunks: dict[bytes, bytes] = {}
    place = 8
    while place < len(data):
        size, name = struct.unpack(">I4s", data[place : place + 8])
        body = data[place + 8 : place + 8 + size]
        (checksum,) = struct.unpack(">I", data[place + 8 + size : place + 12 + size])
        assert checksum == zlib.crc32(name + body)
        chunks[name], place = body, place + 12 + size
    assert list(chunks) == [b"IHDR", b"IDAT", b"IEND"]
    width, height, *kind = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert kind == [8, 2, 0, 0, 0]
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, -1)
    assert not rows[:, 0].any()
    return rows[:, 1:].reshape(height, width, 3)


def test_png_keeps_every_pixel() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    assert np.array_equal(decode_png(encode_png(pixels)), pixels)


def test_colours_rise_from_dark_to_light() -> None:
    ramp = colourise(np.linspace(-0.5, 1.5, 60, dtype=np.float32)[None])[0]
    assert tuple(ramp[0]) == (0, 0, 8)
    assert tuple(ramp[-1]) == (252, 244, 200)
    brightness = ramp @ np.array([0.3, 0.6, 0.1])
    assert (np.diff(brightness) >= 0).all()


def test_low_frequencies_are_at_the_bottom() -> None:
    mel = np.full((80, 10), -5.0, np.float32)
    mel[0] = 1.0
    pixels = decode_png(spectrogram_png(mel))
    assert pixels.shape == (240, 20, 3)
    assert (pixels[-1] > 190).all()
    assert (pixels[0] < 10).all()


def test_write_spectrogram(tmp_path: Path) -> None:
    tone = (0.5 * np.sin(np.arange(8001) * 0.2))[None].astype(np.float32)
    path = write_spectrogram(tmp_path / "tone.png", tone, 16000)
    assert decode_png(path.read_bytes()).shape == (240, 64, 3)
    with pytest.raises(InputError, match="exists"):
        write_spectrogram(path, tone, 16000)
    write_spectrogram(path, tone, 22050, overwrite=True)
