"""Captions from a file: id -> sentence."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, cast

from soundleap.errors import InputError

TABLES = {".csv": ",", ".tsv": "\t"}


def read_caption_file(path: str | Path) -> dict[str, str]:
    """Read one caption a clip from a CSV or TSV with the columns `id` and `caption`, or a JSONL.

    JSONL rows have `id` and `caption`, `prompt` or `captions` (the first is taken).

    Raises:
        InputError: nothing there, another ending, or faulty rows (the first ten are named).
    """
    file = Path(path)
    if not file.is_file():
        raise InputError(f"{file} is not there; give a CSV, TSV or JSONL with id and caption")
    if file.suffix not in (*TABLES, ".jsonl"):
        raise InputError(f"{file} ends in {file.suffix!r}; allowed: .csv, .tsv, .jsonl")
    captions: dict[str, str] = {}
    faults: list[str] = []
    try:
        for number, row in _rows(file):
            fault = _add(row, captions)
            if fault:
                faults.append(f"line {number}: {fault}")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"can't read {file}: {error}") from None
    if faults or not captions:
        shown = "\n  ".join(faults[:10])
        raise InputError(f"{file} has {len(faults)} faults, {len(captions)} captions:\n  {shown}")
    return captions


def _rows(file: Path) -> Iterator[tuple[int, Any]]:
    with file.open(encoding="utf-8", newline="") as lines:
        if file.suffix in TABLES:
            yield from enumerate(csv.DictReader(lines, delimiter=TABLES[file.suffix]), start=2)
        else:
            yield from _json_rows(lines)


def _json_rows(lines: Iterable[str]) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except ValueError:
                yield number, None


def _add(row: Any, captions: dict[str, str]) -> str | None:
    if not isinstance(row, dict):
        return "not a JSON object"
    values = cast("dict[str, Any]", row)
    clip, caption = values.get("id"), values.get("caption", values.get("prompt"))
    many = values.get("captions")
    if caption is None and isinstance(many, list) and many:
        caption = cast("list[Any]", many)[0]
    if not isinstance(clip, str) or not isinstance(caption, str) or not clip or not caption.strip():
        return f"id is {clip!r}, caption is {caption!r}; expected text"
    if captions.setdefault(clip, caption) != caption:
        return f"a second caption for {clip!r}"
    return None
