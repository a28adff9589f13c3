"""Reading and writing sound files."""

from __future__ import annotations

import io
import os
import secrets
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from soundleap.audio.metadata import pack
from soundleap.audio.names import check_format, format_of
from soundleap.audio.ogg import fixed_serial
from soundleap.errors import AudioFileError, InputError

_ENCODINGS = {
    "wav": ("WAV", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
}


def read_audio(
    path: str | Path,
    *,
    sampling_rate: int,
    start_in_s: float = 0.0,
    duration_in_s: float | None = None,
) -> NDArray[np.float32]:
    """Read a file, or a part of it, as mono samples ``[S] float32``.

    Channels are averaged. Decoded lossy files can exceed [-1, 1] a little.

    Args:
        path: any format that libsndfile reads.
        sampling_rate: the rate that is expected; another one is refused, not resampled.
        start_in_s: where to start.
        duration_in_s: how much to read; None reads to the end.

    Raises:
        AudioFileError: if the file can't be read, is empty, has another rate, or holds NaN.
    """
    import soundfile

    try:
        with soundfile.SoundFile(str(path)) as file:
            if file.samplerate != sampling_rate:
                raise AudioFileError(
                    f"{path} has {file.samplerate} Hz; {sampling_rate} Hz expected: "
                    "resample it first"
                )
            file.seek(round(start_in_s * sampling_rate))
            frames = -1 if duration_in_s is None else round(duration_in_s * sampling_rate)
            samples = file.read(frames, dtype="float32", always_2d=True).mean(axis=1)
    except soundfile.SoundFileError as error:
        raise AudioFileError(f"can't read {path}: {error}") from None
    if samples.size == 0:
        raise AudioFileError(f"{path} holds no samples from {start_in_s:g} s on")
    if not np.isfinite(samples).all():
        raise AudioFileError(f"{path} holds NaN or infinity")
    return samples


def at_rate(samples: NDArray[np.float32], given: int, wanted: int) -> NDArray[np.float32]:
    """Resample mono samples ``[S]`` where the rates differ (soxr, very high quality)."""
    if given == wanted:
        return samples
    import soxr

    return soxr.resample(samples, given, wanted, "VHQ").astype(np.float32)


def write_audio(
    path: str | Path,
    waveform: NDArray[np.float32],
    sampling_rate: int,
    *,
    format: str | None = None,
    metadata: dict[str, Any] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a sound file, whole or not at all.

    Args:
        path: where to; missing folders are made.
        waveform: ``[C, S]`` or ``[S] float32`` in [-1, 1].
        sampling_rate: in Hz.
        format: wav or flac (both 16 bit), ogg (Vorbis), opus or mp3; None goes by the ending.
        metadata: written as JSON into the comment tag; see `read_metadata`.
        overwrite: replace what is there.

    Returns:
        The path.

    Raises:
        InputError: for an unknown format, a file that exists, or a waveform that is empty, not
            finite or beyond [-1, 1].
        AudioFileError: if the file can't be written, for example because the disk is full.
    """
    target = Path(path)
    data = encode_audio(waveform, sampling_rate, format_of(target, format), metadata)
    write_bytes(target, data, overwrite=overwrite)
    return target


def encode_audio(
    waveform: NDArray[np.float32],
    sampling_rate: int,
    format: str,
    metadata: dict[str, Any] | None = None,
) -> bytes:
    """Give the bytes of a sound file; arguments and errors as for `write_audio`."""
    import soundfile

    _check_waveform(waveform)
    container, subtype = _ENCODINGS[check_format(format)]
    samples = waveform.T if waveform.ndim == 2 else waveform[:, None]
    buffer = io.BytesIO()
    try:
        with soundfile.SoundFile(
            buffer, "w", sampling_rate, samples.shape[1], subtype, format=container
        ) as sound:
            if metadata is not None:
                sound.comment = pack(metadata)
            sound.write(samples)
    except soundfile.SoundFileError as error:
        raise AudioFileError(f"can't encode {format} at {sampling_rate} Hz: {error}") from None
    return fixed_serial(buffer.getvalue()) if container == "OGG" else buffer.getvalue()


def write_bytes(path: Path, data: bytes, *, overwrite: bool = False) -> None:
    """Write a file under another name in its folder, then rename it.

    Raises:
        InputError: if the file exists and `overwrite` is off.
        AudioFileError: if it can't be written; nothing is left behind.
    """
    if os.path.exists(path) and not overwrite:  # unlike Path.exists it never raises
        raise InputError(f"{path} exists; choose another name or allow it with overwrite")
    partial = path.parent / f".soundleap-{secrets.token_hex(4)}.partial"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(data)
        partial.replace(path)
    except OSError as error:
        raise AudioFileError(f"can't write {path}: {error.strerror}") from None
    finally:
        _remove(partial)


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:  # its folder is no folder: there is nothing to remove
        return


def _check_waveform(waveform: NDArray[np.float32]) -> None:
    if waveform.ndim not in (1, 2) or waveform.size == 0:
        raise InputError(f"waveform is {waveform.shape}; needed: [C, S] or [S], not empty")
    peak = float(np.abs(waveform).max())
    if not peak <= 1.0:  # also catches NaN
        raise InputError(f"waveform has a peak of {peak:g}; allowed: up to 1: scale it first")
