"""Reading lists of captions as their publishers pass them on: CSV, TSV and JSON lines."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from soundleap.errors import InputError

SHOWN = 5

_FILE_NAME = re.compile(r"Y?([\w-]{11})(?:_\d+(?:\.\d+)?){0,2}", re.ASCII)
_ID_COLUMNS = ("youtube_id", "ytid", "id", "name", "location")
_CAPTION_COLUMNS = ("caption", "captions")


@dataclass(frozen=True)
class ListRow:
    """One caption of a published list: the 11-character YouTube id, and the sentence."""

    id: str
    caption: str


def read_list(path: str | Path) -> list[ListRow]:
    """Read a list, one row a caption, in the order of the file.

    Known are CSV and TSV with a header, and JSON lines. The id is taken from the first column (or
    key) of `youtube_id`, `ytid`, `id`, `name`, `location` that is there, as `ID`, `YID`, `ID_START`
    or a path to such a file; the sentence from `caption` or `captions`.

    Raises:
        InputError: the file can't be read, lacks a column, or has faulty rows (all counted, the
            first five named).
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"can't read the list {file}: {error}") from None
    rows: list[ListRow] = []
    faults: list[str] = []
    for number, values in _records(text, file):
        try:
            rows.append(_row(values))
        except ValueError as error:
            faults.append(f"row {number}: {error}")
    if faults:
        shown = "; ".join(faults[:SHOWN])
        raise InputError(f"{file} has {len(faults)} faulty rows: {shown}")
    if not rows:
        raise InputError(f"{file} holds no rows")
    return rows


def check_count(rows: Sequence[ListRow], clips: int, per_clip: int, what: str) -> None:
    """Raise `InputError` unless there are so many clips, each with so many captions.

    Args:
        rows: the list.
        clips: how many different ids it must have.
        per_clip: how many rows each id must have.
        what: whose list it must be, for the message.
    """
    counts = Counter(row.id for row in rows)
    wrong = [name for name, count in counts.items() if count != per_clip]
    if len(counts) == clips and not wrong:
        return
    text = f"the list has {len(counts)} clips in {len(rows)} rows; {what}"
    if wrong:
        text += f"; {len(wrong)} clips have another number of captions, first {wrong[0]!r}"
    raise InputError(text)


def _records(text: str, file: Path) -> Iterable[tuple[int, Mapping[str, Any]]]:
    if text.lstrip().startswith("{"):
        return _json_lines(text)
    head = text.split("\n", 1)[0]
    table = csv.DictReader(io.StringIO(text, newline=""), delimiter="\t" if "\t" in head else ",")
    names = table.fieldnames or []
    for wanted in (_ID_COLUMNS, _CAPTION_COLUMNS):
        if not any(name in names for name in wanted):
            raise InputError(
                f"{file} has the columns {', '.join(names)}; needed: one of {', '.join(wanted)}"
            )
    return enumerate(table, start=2)


def _json_lines(text: str) -> Iterable[tuple[int, Mapping[str, Any]]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        yield number, cast("dict[str, Any]", row) if isinstance(row, dict) else {}


def _row(values: Mapping[str, Any]) -> ListRow:
    name = next((values[column] for column in _ID_COLUMNS if column in values), None)
    caption = next((values[column] for column in _CAPTION_COLUMNS if column in values), None)
    if not isinstance(name, str) or not isinstance(caption, str) or not caption.strip():
        raise InputError("needed are an id and one sentence")
    stem = re.sub(r"\.(wav|flac|mp3|ogg|opus|m4a)$", "", re.split(r"[/\\]", name)[-1])
    match = _FILE_NAME.fullmatch(stem)
    if match is None:
        raise InputError(f"{name!r} holds no YouTube id of 11 characters")
    return ListRow(match.group(1), " ".join(caption.split()))
