"""A protocol of one's own: a folder of recordings, or a saved protocol."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

from soundleap.errors import AudioFileError, InputError
from soundleap.evaluation.protocols.definition import EvaluationProtocol, ProtocolClip
from soundleap.evaluation.protocols.reference import MANIFEST

FILE_NAME = "protocol.json"
SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3")
EMBEDDERS = ("yamnet",)


def folder_protocol(path: Path) -> EvaluationProtocol:
    """Read or derive the protocol of a folder.

    Taken is the first that is there: `protocol.json` (`EvaluationProtocol.to_json`);
    `manifest.jsonl`, whose rows have `file` and optionally `id`, `captions` or `prompt`, `seconds`
    and `label`; sound files (searched recursively), each with its caption in a text file of the
    same name ending in .txt, or none with any. `path` may also be a protocol file itself.

    Raises:
        InputError: nothing usable there, or faults, named.
    """
    for file in (path, path / FILE_NAME):
        if file.is_file():
            return EvaluationProtocol.from_json(_text(file), place=str(file))
    if (path / MANIFEST).is_file():
        clips, source = _from_manifest(path / MANIFEST), f"the first caption in {MANIFEST}"
    else:
        clips, source = _from_sounds(path), "the text file beside the sound"
    if not any(clip.caption for clip in clips):
        source = "none"
    return EvaluationProtocol(
        name=path.resolve().name,
        title="A folder of sounds",
        caption_rule=source,
        embedders=EMBEDDERS,
        clips=tuple(clips),
    )


def _from_sounds(folder: Path) -> list[ProtocolClip]:
    files = [f for f in sorted(folder.rglob("*")) if f.suffix.lower() in SUFFIXES and f.is_file()]
    if not files:
        raise InputError(
            f"{folder} holds no {FILE_NAME}, no {MANIFEST} and no sounds ({', '.join(SUFFIXES)})"
        )
    texts = {file: file.with_suffix(".txt") for file in files}
    without = [file for file in files if not texts[file].is_file()]
    if 0 < len(without) < len(files):
        raise InputError(
            f"{len(without)} of {len(files)} sounds have no caption, first {without[0]}: "
            "write a .txt file beside each sound, or beside none"
        )
    clips: list[ProtocolClip] = []
    for file in files:
        caption = None if without else " ".join(_text(texts[file]).split())
        if caption == "":
            raise InputError(f"{texts[file]} is empty; write one sentence, or delete all of them")
        name = file.relative_to(folder).with_suffix("").as_posix()
        clips.append(ProtocolClip(id=name, caption=caption, seconds=_seconds(file)))
    return clips


def _from_manifest(manifest: Path) -> list[ProtocolClip]:
    clips: list[ProtocolClip] = []
    faults: list[str] = []
    for number, line in enumerate(_text(manifest).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            clips.append(_clip_of(json.loads(line), manifest.parent))
        except (ValueError, AudioFileError) as error:
            faults.append(f"line {number}: {' '.join(str(error).split())}")
    if faults or not clips:
        shown = "; ".join(faults[:10]) or "no rows"
        raise InputError(f"{manifest} has {len(faults)} faults: {shown}")
    return clips


def _clip_of(row: Any, folder: Path) -> ProtocolClip:
    values = cast("dict[str, Any]", row) if isinstance(row, dict) else {}
    file = values.get("file")
    if not isinstance(file, str) or not file:
        raise InputError(f"file is {file!r}; expected a path")
    captions = values.get("captions") or [values.get("prompt")]
    start, seconds = values.get("start") or 0.0, values.get("seconds")
    name = str(Path(file).with_suffix("").as_posix()) + (f"#{start:g}" if start else "")
    return ProtocolClip(
        id=values.get("id") or name,
        caption=captions[0],
        seconds=_seconds(folder / file) - start if seconds is None else seconds,
        label=values.get("label"),
    )


def _seconds(file: Path) -> float:
    import soundfile

    try:
        info = soundfile.info(str(file))
    except (soundfile.SoundFileError, OSError) as error:
        raise AudioFileError(f"can't read {file}: {error}") from None
    return info.frames / info.samplerate


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"can't read {path}: {error}") from None
