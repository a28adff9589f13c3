"""Writing a record into a folder and reading it back."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from soundleap.errors import InputError
from soundleap.evaluation.record import ClipRow, EvaluationRecord, clip_row

RECORD_FILE, CLIPS_FILE, TABLE_FILE = "evaluation.json", "clips.jsonl", "clips.csv"


def write_record(record: EvaluationRecord, folder: str | Path) -> list[Path]:
    """Write `evaluation.json`, `clips.jsonl` and `clips.csv`; each appears whole or not at all.

    The first holds all but the per-clip rows, which the other two hold.

    Returns:
        The three paths.
    """
    root = Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    texts = {
        CLIPS_FILE: clip_lines(record.clips),
        TABLE_FILE: clip_table(record.clips),
        RECORD_FILE: record.to_json(clips=False),
    }
    for name, text in texts.items():
        write_atomically(root / name, text.encode())
    return [root / name for name in (RECORD_FILE, CLIPS_FILE, TABLE_FILE)]


def read_record(place: str | Path) -> EvaluationRecord:
    """Read a record from a folder (or its `evaluation.json`), with `clips.jsonl` beside it.

    Raises:
        InputError: nothing there, or no record.
    """
    path = Path(place)
    path = path / RECORD_FILE if path.is_dir() else path
    if not path.is_file():
        raise InputError(f"{path} is not there; give a folder that `soundleap evaluate` wrote")
    try:
        record = EvaluationRecord.from_json(path.read_text(encoding="utf-8"))
        rows = path.with_name(CLIPS_FILE)
        if record.clips or not rows.is_file():
            return record
        lines = rows.read_text(encoding="utf-8").split("\n")
        clips = tuple(clip_row(json.loads(line)) for line in lines if line.strip())
    except (InputError, ValueError, TypeError) as error:
        raise InputError(f"{path}: {error}") from None
    return dataclasses.replace(record, clips=clips)


def clip_lines(clips: Sequence[ClipRow]) -> str:
    """Write one JSON object a clip and line."""
    rows = (json.dumps(dataclasses.asdict(c), ensure_ascii=False, allow_nan=False) for c in clips)
    return "".join(row + "\n" for row in rows)


def clip_table(clips: Sequence[ClipRow]) -> str:
    """Write the rows as CSV with a header; a column for every score and refusing embedder."""
    flat = [_flat(clip) for clip in clips]
    columns = list(dict.fromkeys(name for row in flat for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue()


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file under a temporary name beside it, then rename."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def _flat(clip: ClipRow) -> dict[str, Any]:
    row = dataclasses.asdict(clip)
    scores, refused = row.pop("scores"), row.pop("refused")
    row["notes"], row["tags"] = "; ".join(clip.notes), "; ".join(clip.tags)
    row.update({f"refused by {name}": reason for name, reason in sorted(refused.items())})
    row.update(sorted(scores.items()))
    return row
