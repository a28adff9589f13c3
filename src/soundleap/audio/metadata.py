"""What a generated file says about itself: JSON in its comment tag."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from soundleap.errors import AudioFileError, InputError

KEY = "soundleap"
MAX_BYTES = 32768  # libsndfile drops longer comments from WAV, without a word


def pack(metadata: dict[str, Any]) -> str:
    """Write metadata as one line of ASCII.

    Raises:
        InputError: if it is longer than 32768 bytes, which not every format can hold.
    """
    text = json.dumps({KEY: metadata}, separators=(",", ":"), allow_nan=False)
    if len(text) > MAX_BYTES:
        raise InputError(f"metadata is {len(text)} bytes; allowed: up to {MAX_BYTES}")
    return text


def unpack(comment: str) -> dict[str, Any] | None:
    """Read what `pack` wrote; None for any other text."""
    try:
        values = json.loads(comment)
    except ValueError:
        return None
    inner = cast("dict[str, Any]", values).get(KEY) if isinstance(values, dict) else None
    return cast("dict[str, Any]", inner) if isinstance(inner, dict) else None


def read_metadata(path: str | Path) -> dict[str, Any]:
    """Read the metadata that Soundleap wrote into a sound file.

    Raises:
        AudioFileError: if the file can't be read or carries none.
    """
    try:
        with Path(path).open("rb") as file:
            head = file.read(4)
            file.seek(0)
            comment = _riff_comment(file) if head == b"RIFF" else _comment(path, file)
    except OSError as error:
        raise AudioFileError(f"can't read {path}: {error.strerror}") from None
    metadata = unpack(comment)
    if metadata is None:
        raise AudioFileError(f"{path} carries no Soundleap metadata")
    return metadata


def _comment(path: str | Path, file: BinaryIO) -> str:
    import soundfile

    try:
        with soundfile.SoundFile(file) as sound:
            return sound.comment
    except soundfile.SoundFileError as error:
        raise AudioFileError(f"can't read {path}: {error}") from None


def _riff_comment(file: BinaryIO) -> str:
    """Find the ICMT text of a WAV file; libsndfile reads none above 2 KB."""
    file.seek(12)
    for name, size in _chunks(file):
        start = file.tell()
        if name == b"LIST" and file.read(4) == b"INFO":
            for inner, inner_size in _chunks(file, start + size):
                if inner == b"ICMT":
                    return file.read(inner_size).rstrip(b"\0").decode("utf-8", "replace")
                file.seek(inner_size + inner_size % 2, 1)
        file.seek(start + size + size % 2)
    return ""


def _chunks(file: BinaryIO, end: int | None = None) -> Iterator[tuple[bytes, int]]:
    """Give name and size of each chunk; the caller moves behind it."""
    while end is None or file.tell() + 8 <= end:
        header = file.read(8)
        if len(header) < 8:
            return
        yield struct.unpack("<4sI", header)
