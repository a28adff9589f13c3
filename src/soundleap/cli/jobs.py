"""What `soundleap generate` is asked to make: from arguments, a file of prompts or a sound file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from soundleap.audio.metadata import read_metadata
from soundleap.bundle_schema import Manifest
from soundleap.errors import InputError, unknown_name
from soundleap.requests import Request

NEEDED = (
    "prompt", "duration_in_s", "num_inference_steps", "guidance_scale", "seed", "network"
)  # fmt: skip
"""What a file's metadata must tell so that it can be made again."""


def read_prompts(path: Path, common: Request) -> list[Request]:
    """Read prompts, one a line, or JSON objects if the file ends in .jsonl; skips blank lines.

    Args:
        path: UTF-8.
        common: settings of every prompt; a JSON line's own settings win.

    Raises:
        InputError: if the file can't be read, holds no prompt, or a line is not valid.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"can't read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8 text") from None
    lines = [(i + 1, line.strip()) for i, line in enumerate(text.split("\n")) if line.strip()]
    if not lines:
        raise InputError(f"{path} holds no prompt")
    if path.suffix.lower() != ".jsonl":
        return [replace(common, prompt=line) for _, line in lines]
    return [_from_json(f"{path}, line {number}", line, common) for number, line in lines]


def _from_json(place: str, line: str, common: Request) -> Request:
    try:
        values = json.loads(line)
    except ValueError as error:
        raise InputError(f"{place}: not valid JSON: {error}") from None
    if not isinstance(values, dict) or "prompt" not in values:
        raise InputError(f"{place}: needed is an object with a prompt")
    settings = cast("dict[str, Any]", values)
    known = Request.__dataclass_fields__
    for key in settings:
        if key not in known:
            raise InputError(f"{place}: {unknown_name('setting', key, known)}")
    return replace(common, **settings)


def repeat_request(path: Path) -> tuple[Request, dict[str, Any]]:
    """Read from a generated file what it was made with.

    Returns:
        The request and all of the metadata.

    Raises:
        InputError: if the metadata lacks a setting.
        AudioFileError: if the file can't be read or carries no metadata.
    """
    metadata = read_metadata(path)
    missing = [name for name in NEEDED if metadata.get(name) is None]
    if missing:
        raise InputError(f"{path} can't be repeated: its metadata lacks {', '.join(missing)}")
    names = Request.__dataclass_fields__
    return Request(**{name: metadata[name] for name in names if name in metadata}), metadata


def check_same_model(path: Path, metadata: dict[str, Any], manifest: Manifest) -> None:
    """Raise `InputError` unless a file was made by this model."""
    if metadata.get("model_fingerprint") != manifest.fingerprint:
        theirs = f"{metadata.get('model')} {metadata.get('model_version')}"
        raise InputError(
            f"{path} was made by another model ({theirs}, {_short(metadata)}) than this one "
            f"({manifest.name} {manifest.version}, {manifest.fingerprint[:12]}); "
            "give that one with --model, or use --force"
        )


def _short(metadata: dict[str, Any]) -> str:
    return str(metadata.get("model_fingerprint"))[:12]
