"""The clip manifest: one JSON object per line, one line per stretch of sound with its captions.

Keys, all required: ``id file start seconds captions source licence author split kind``. ``file`` is
relative to the manifest's folder, with ``/`` between folders and never out of it, so that a folder
with its manifest can be moved or packed.
"""

from __future__ import annotations

import json
import math
import os
import re
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path, PurePosixPath
from typing import Any, cast

from soundleap.data.captions import KINDS, SHOWN_FAULTS
from soundleap.data.probe import probe_audio
from soundleap.errors import InputError

SPLITS = ("train", "heldout")
MAX_SECONDS = 24 * 3600.0


@dataclass(frozen=True)
class Clip:
    """A stretch of a sound file with the words for it.

    Attributes:
        id: unique name.
        file: path relative to the manifest's folder.
        start: beginning in seconds.
        seconds: length, above 0.
        captions: one or more sentences.
        source: collection it comes from.
        licence: SPDX identifier, e.g. ``"CC0-1.0"``.
        author: as the source names them.
        split: ``"train"`` or ``"heldout"``.
        kind: ``"event"``, ``"ambience"``, ``"music"`` or ``"voice"``.
    """

    id: str
    file: str
    start: float
    seconds: float
    captions: tuple[str, ...]
    source: str
    licence: str
    author: str
    split: str
    kind: str


@dataclass(frozen=True)
class Fault:
    """Something wrong in a manifest: 1-based line, field (empty: the whole line), message."""

    line: int
    field: str
    message: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.field + ': ' if self.field else ''}{self.message}"


_Found = list[tuple[str, str]]
"""Faults of one line as (field, message)."""

_KEYS = tuple(field.name for field in fields(Clip))


def read_manifest(path: str | Path) -> list[Clip]:
    """Read a manifest after checking all of it (not its audio).

    Raises:
        InputError: with the count of faults and the first 20 of them.
    """
    clips, faults = _parse(Path(path), check_audio=False)
    if faults:
        shown = "\n  ".join(str(fault) for fault in faults[:SHOWN_FAULTS])
        raise InputError(f"{path} has {len(faults)} faults:\n  {shown}")
    return clips


def validate_manifest(path: str | Path, *, check_audio: bool = False) -> list[Fault]:
    """Report every fault of a manifest with its line; an empty list means that it is sound.

    Args:
        path: the JSONL file.
        check_audio: also decode each stretch: unreadable files, stretches beyond the end, NaN,
            silence.

    Raises:
        InputError: if the manifest itself can't be read.
    """
    return _parse(Path(path), check_audio=check_audio)[1]


def write_manifest(clips: Iterable[Clip], path: str | Path) -> None:
    """Write a manifest in one go: a failed run leaves the old file or none."""
    rows = (json.dumps(asdict(clip), ensure_ascii=False) + "\n" for clip in clips)
    write_text_atomically(Path(path), "".join(rows))


def merge_manifests(paths: Sequence[str | Path], out: str | Path) -> list[Clip]:
    """Join manifests into one; their files must lie within the folder of ``out``.

    Raises:
        InputError: if an id occurs twice, or a manifest lies outside of ``out``'s folder.
    """
    folder = Path(out).resolve().parent
    merged: list[Clip] = []
    origin: dict[str, Path] = {}
    for path in map(Path, paths):
        prefix = _prefix_within(path.resolve().parent, folder)
        for clip in read_manifest(path):
            if clip.id in origin:
                raise InputError(f"id {clip.id!r} is in {origin[clip.id]} and in {path}")
            origin[clip.id] = path
            merged.append(replace(clip, file=str(prefix / clip.file)))
    write_manifest(merged, out)
    return merged


def write_text_atomically(path: Path, text: str) -> None:
    """Write UTF-8 text through a temporary file in the same folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with open(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _prefix_within(inner: Path, folder: Path) -> PurePosixPath:
    if not inner.is_relative_to(folder):
        raise InputError(f"{inner} is not within {folder}: put the merged manifest above it")
    return PurePosixPath(inner.relative_to(folder).as_posix())


def _parse(path: Path, *, check_audio: bool) -> tuple[list[Clip], list[Fault]]:
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise InputError(f"can't read the manifest {path}: {error.strerror}") from error
    clips: list[Clip] = []
    faults: list[Fault] = []
    first_line: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line and number == len(lines):
            break
        row, found = _parse_line(line)
        if row is not None:
            found += _repetition_fault(row.get("id"), number, first_line)
            found += _place_faults(row, found, path.parent, check_audio=check_audio)
            if not found:
                clips.append(_make_clip(row))
        faults += [Fault(number, field, message) for field, message in found]
    if not clips and not faults:
        faults.append(Fault(1, "", "no clips"))
    return clips, faults


def _make_clip(row: dict[str, Any]) -> Clip:
    values: dict[str, Any] = {key: row[key] for key in _KEYS}
    values["captions"] = tuple(row["captions"])
    values["start"], values["seconds"] = float(row["start"]), float(row["seconds"])
    return Clip(**values)


def _parse_line(line: bytes) -> tuple[dict[str, Any] | None, _Found]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        return None, [("", f"not JSON ({error})")]
    if not isinstance(row, dict):
        return None, [("", f"not a JSON object but {type(row).__name__}")]
    row = cast(dict[str, Any], row)
    faults = [(key, "missing") for key in _KEYS if key not in row]
    unknown = [key for key in row if key not in _KEYS]
    faults += [(key, f"unknown field (known: {', '.join(_KEYS)})") for key in unknown]
    for key in _KEYS:
        if key in row and (message := _value_fault(key, row[key])):
            faults.append((key, message))
    return row, faults


def _repetition_fault(clip_id: object, number: int, first_line: dict[str, int]) -> _Found:
    if not isinstance(clip_id, str):
        return []
    earlier = first_line.setdefault(clip_id, number)
    return [] if earlier == number else [("id", f"{clip_id!r} is already on line {earlier}")]


def _value_fault(key: str, value: object) -> str | None:
    if key == "captions":
        return _captions_fault(value)
    if key in ("start", "seconds"):
        return _time_fault(key, value)
    if not isinstance(value, str):
        return f"{value!r} is {type(value).__name__}, not text"
    if not value.strip():
        return "empty"
    choices = {"split": SPLITS, "kind": KINDS}.get(key)
    if choices and value not in choices:
        return f"unknown value {value!r} (known: {', '.join(choices)})"
    return _file_fault(value) if key == "file" else None


def _captions_fault(value: object) -> str | None:
    if not isinstance(value, list):
        return f"{value!r} is {type(value).__name__}, not a list of texts"
    captions = cast(list[object], value)
    if not captions:
        return "empty: a clip needs at least one caption"
    for caption in captions:
        if not isinstance(caption, str) or not caption.strip():
            return f"{caption!r} is not a text with words"
    return None


def _time_fault(key: str, value: object) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"{value!r} is {type(value).__name__}, not a number"
    if isinstance(value, float) and not math.isfinite(value):
        return f"{value} is not finite"
    if key == "seconds" and value == 0:
        return "0 s; a clip must be longer"
    return None if 0 <= value <= MAX_SECONDS else f"{value} s; allowed: 0 to {MAX_SECONDS:g} s"


def _file_fault(value: str) -> str | None:
    # Backslashes and drive letters are separators elsewhere: a manifest travels between systems.
    if "\\" in value or "\0" in value or re.match("[A-Za-z]:", value):
        return f"{value!r} must be a relative path with / between folders"
    if value.startswith("/") or ".." in value.split("/"):
        return f"{value!r} leads out of the manifest's folder"
    return None


def _place_faults(row: dict[str, Any], found: _Found, folder: Path, *, check_audio: bool) -> _Found:
    faulty = {field for field, _ in found}
    if "file" in faulty:
        return []
    path = folder / row["file"]
    if not path.is_file():
        return [("file", f"{row['file']!r} does not exist in {folder}")]
    if not check_audio or faulty.intersection(("start", "seconds")):
        return []
    fault = probe_audio(path, start=row["start"], seconds=row["seconds"]).fault
    return [("file", f"{row['file']!r}: {fault}")] if fault else []
