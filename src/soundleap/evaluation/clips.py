"""The clips of an evaluation, from a folder or a manifest, and reading them or saying why not."""

from __future__ import annotations

import importlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from soundleap.errors import AudioFileError, InputError

SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3")
SILENCE_PEAK = 1e-4


@dataclass(frozen=True)
class EvaluationClip:
    """A stretch of a sound file.

    Attributes:
        id: the file as the manifest or folder names it, with `#start` where start > 0.
        path: where the file is.
        start_in_s: beginning of the stretch.
        duration_in_s: its length; None reads to the end of the file.
        prompt: the first caption, or the prompt; None if there is none.
        label: true class, or None.
    """

    id: str
    path: Path
    start_in_s: float = 0.0
    duration_in_s: float | None = None
    prompt: str | None = None
    label: str | None = None


@dataclass(frozen=True)
class Sound:
    """Samples of a clip and what was done to them.

    Attributes:
        waveform: [S] float32, mono.
        notes: sentences on changes (channels averaged, resampled); empty if none.
    """

    waveform: NDArray[np.float32]
    notes: tuple[str, ...]


def list_clips(source: str | Path) -> list[EvaluationClip]:
    """List the clips of a folder (searched recursively, sorted) or of a JSONL manifest.

    Manifest rows have `file` (relative to the manifest) and optionally `start`, `seconds`,
    `captions` or `prompt`, and `label`; other keys are for other readers.

    Raises:
        InputError: nothing there, no clips, or faults in the manifest (the first ten are named).
    """
    path = Path(source)
    if path.is_dir():
        files = (f for f in sorted(path.rglob("*")) if f.suffix.lower() in SUFFIXES)
        clips = [EvaluationClip(f.relative_to(path).as_posix(), f) for f in files if f.is_file()]
    elif path.is_file():
        clips = _read_manifest(path)
    else:
        raise InputError(f"{path} is neither a folder nor a manifest (JSONL) file")
    if not clips:
        raise InputError(f"{path} holds no clips (sound files end in {', '.join(SUFFIXES)})")
    return clips


def _read_manifest(path: Path) -> list[EvaluationClip]:
    clips: list[EvaluationClip] = []
    faults: list[str] = []
    try:
        lines = path.read_text(encoding="utf-8").split("\n")  # splitlines would cut at U+2028 too
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"can't read manifest {path}: {error}") from None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            clips.append(_parse_row(json.loads(line), path.parent))
        except ValueError as error:
            faults.append(f"line {number}: {error}")
    if faults:
        shown = "\n  ".join(faults[:10])
        raise InputError(f"{path} has {len(faults)} faults:\n  {shown}")
    return clips


def _parse_row(row: Any, folder: Path) -> EvaluationClip:
    if not isinstance(row, dict):
        raise InputError("not a JSON object")
    values = cast("dict[str, Any]", row)
    file, start, seconds = values.get("file"), values.get("start", 0.0), values.get("seconds")
    if not isinstance(file, str) or not file:
        raise InputError(f"file is {file!r}; expected a path")
    if not _is_number(start) or start < 0:
        raise InputError(f"start is {start!r}; allowed: 0 or more seconds")
    if seconds is not None and (not _is_number(seconds) or seconds <= 0):
        raise InputError(f"seconds is {seconds!r}; allowed: above 0")
    return EvaluationClip(
        id=file if start == 0 else f"{file}#{start:g}",
        path=folder / file,
        start_in_s=float(start),
        duration_in_s=None if seconds is None else float(seconds),
        prompt=_prompt(values),
        label=_text("label", values.get("label")),
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _prompt(row: Mapping[str, Any]) -> str | None:
    captions: Any = row.get("captions")
    if captions is None:
        return _text("prompt", row.get("prompt"))
    if not isinstance(captions, list):
        raise InputError(f"captions is {captions!r}; expected a list of sentences")
    sentences = cast("Sequence[object]", captions)
    return _text("captions[0]", sentences[0]) if sentences else None


def _text(name: str, value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise InputError(f"{name} is {value!r}; expected text")


def load_clip(clip: EvaluationClip, sampling_rate: int, *, resample: bool = False) -> Sound:
    """Read a clip as mono samples at `sampling_rate`.

    Args:
        clip: which stretch of which file.
        sampling_rate: in Hz.
        resample: convert other rates (soxr, very high quality) instead of refusing them.

    Raises:
        AudioFileError: unreadable, shorter than asked for, another rate, NaN or infinity, or
            silent (peak below 1e-4).
    """
    samples, rate = _read_samples(clip)
    notes: list[str] = []
    if not np.isfinite(samples).all():
        raise AudioFileError("holds NaN or infinity")
    if samples.shape[1] > 1:
        notes.append(f"{samples.shape[1]} channels averaged")
    waveform = samples.mean(axis=1)
    if rate != sampling_rate and not resample:
        raise AudioFileError(
            f"has {rate} Hz, not {sampling_rate} Hz; give --resample (resample=True) to convert"
        )
    if np.abs(waveform).max() < SILENCE_PEAK:
        raise AudioFileError(f"is silent (peak below {SILENCE_PEAK:g})")
    if rate != sampling_rate:
        soxr: Any = importlib.import_module("soxr")
        waveform = soxr.resample(waveform, rate, sampling_rate, quality="VHQ")
        notes.append(f"resampled from {rate} Hz")
    return Sound(np.ascontiguousarray(waveform, dtype=np.float32), tuple(notes))


def _read_samples(clip: EvaluationClip) -> tuple[NDArray[np.float32], int]:
    """Read all channels of the stretch: [S, C] and the file's rate."""
    soundfile: Any = importlib.import_module("soundfile")
    try:
        with soundfile.SoundFile(str(clip.path)) as file:
            first = round(clip.start_in_s * file.samplerate)
            left = max(file.frames - first, 0)
            wanted = left
            if clip.duration_in_s is not None:
                wanted = round(clip.duration_in_s * file.samplerate)
            # a manifest gives seconds with 3 decimals
            if left == 0 or wanted > left + 0.001 * file.samplerate:
                raise AudioFileError(
                    f"has {left / file.samplerate:.3f} s from {clip.start_in_s:g} s on; "
                    f"{wanted / file.samplerate:.3f} s asked for"
                )
            file.seek(first)
            return file.read(wanted, dtype="float32", always_2d=True), file.samplerate
    except (soundfile.SoundFileError, OSError) as error:
        raise AudioFileError(f"can't be read: {error}") from None
