"""The clips of one side of an evaluation: a folder or a manifest, matched by id."""

from __future__ import annotations

import dataclasses
import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from soundleap.errors import InputError
from soundleap.evaluation.settings import Matching

SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3")


@dataclass(frozen=True)
class EvaluationClip:
    """A stretch of a sound file.

    Attributes:
        id: name by which the two sides are matched: the manifest's `id`; else the file's path
            without its ending, with `#start` where start > 0.
        file: as the folder or the manifest names it.
        path: where the file is; None for a clip that should be there and is not.
        start_in_s: beginning of the stretch.
        duration_in_s: its length; None reads to the end of the file.
        prompt: the first caption, or the prompt; None if there is none.
        label: true class, or None.
        fault: why the clip can't be used, known before it is read; begins with the kind of fault
            and a colon.
    """

    id: str
    file: str
    path: Path | None
    start_in_s: float = 0.0
    duration_in_s: float | None = None
    prompt: str | None = None
    label: str | None = None
    fault: str | None = None


def list_clips(source: str | Path) -> list[EvaluationClip]:
    """List the clips of a folder (searched recursively) or of a JSONL manifest, sorted by id.

    Manifest rows have `file` (relative to the manifest) and optionally `id`, `start`, `seconds`,
    `captions` or `prompt`, and `label`; other keys are for other readers. Clips that share an id
    are all marked as faulty.

    Raises:
        InputError: nothing there, no clips, or faults in the manifest (the first ten are named).
    """
    path = Path(source)
    if path.is_dir():
        files = (f for f in path.rglob("*") if f.suffix.lower() in SUFFIXES and f.is_file())
        clips = [_clip_of_file(f.relative_to(path).as_posix(), f) for f in files]
    elif path.is_file():
        clips = _read_manifest(path)
    else:
        raise InputError(f"{path} is neither a folder nor a manifest (JSONL) file")
    if not clips:
        raise InputError(f"{path} holds no clips (sound files end in {', '.join(SUFFIXES)})")
    return _mark_twins(clips)


def match_clips(
    clips: Sequence[EvaluationClip], role: str, matching: Matching
) -> list[EvaluationClip]:
    """Apply a matching to one side: ids, captions and labels; add clips that are missing.

    Args:
        clips: from `list_clips`.
        role: "generated" or "reference".
        matching: which clips are wanted, under which ids.

    Returns:
        All clips, sorted by id; those that are not wanted, and those that are not there, with a
        fault.
    """
    wanted = matching.wanted(role)
    named = [_resolved(clip, matching) for clip in clips]
    marked = [
        dataclasses.replace(clip, fault=clip.fault or "not in the list: of the protocol")
        if wanted is not None and clip.id not in wanted
        else clip
        for clip in named
    ]
    marked = _mark_twins(marked)
    missing = (wanted or frozenset()) - {clip.id for clip in marked}
    marked += [EvaluationClip(i, i, None, fault="missing: no such clip") for i in missing]
    told = [_told(clip, matching) for clip in marked]
    return sorted(told, key=lambda clip: (clip.id, clip.file))


def _resolved(clip: EvaluationClip, matching: Matching) -> EvaluationClip:
    found = clip.id if matching.resolve is None else matching.resolve(clip.id)
    return clip if found is None else dataclasses.replace(clip, id=found)


def _told(clip: EvaluationClip, matching: Matching) -> EvaluationClip:
    prompt = clip.prompt if matching.captions is None else matching.captions.get(clip.id)
    label = clip.label if matching.labels is None else matching.labels.get(clip.id)
    return dataclasses.replace(clip, prompt=prompt, label=label)


def _mark_twins(clips: Sequence[EvaluationClip]) -> list[EvaluationClip]:
    files: dict[str, list[str]] = defaultdict(list)
    for clip in clips:
        if clip.fault is None:
            files[clip.id].append(clip.file)
    marked = [
        dataclasses.replace(clip, fault=f"same id: {', '.join(sorted(files[clip.id])[:3])}")
        if clip.fault is None and len(files[clip.id]) > 1
        else clip
        for clip in clips
    ]
    return sorted(marked, key=lambda clip: (clip.id, clip.file))


def _clip_of_file(name: str, path: Path) -> EvaluationClip:
    return EvaluationClip(id=name[: -len(path.suffix)], file=name, path=path)


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
    name = file[: -len(Path(file).suffix)] if Path(file).suffix else file
    return EvaluationClip(
        id=_text("id", values.get("id")) or (name if start == 0 else f"{name}#{start:g}"),
        file=file,
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
