"""A check on reference sounds: none of them may be one that the model was trained on."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any, cast

from soundleap.errors import InputError

MANIFEST = "manifest.jsonl"
TRAINING_SPLIT = "train"


def check_split(ids: Collection[str], path: Path, protocol: str) -> None:
    """Raise `InputError` if a manifest has one of the ids in its training part.

    Rows without `id` or `split`, and lines that are no JSON, are for other checks.

    Args:
        ids: what must be held out.
        path: the manifest, or a folder that may hold one.
        protocol: whose ids they are, for the message.
    """
    manifest = path / MANIFEST if path.is_dir() else path
    if not manifest.is_file():
        return
    wrong = [i for i in _training_ids(manifest) if i in ids]
    if wrong:
        raise InputError(
            f"{manifest} has {len(wrong)} clips of protocol {protocol} in its training part, "
            f"first {wrong[0]!r}: prepare the corpus with the default --heldout-share and --seed"
        )


def _training_ids(manifest: Path) -> list[str]:
    found: list[str] = []
    with manifest.open("rb") as file:
        for line in file:
            try:
                row = json.loads(line)
            except ValueError:
                continue
            values = cast("dict[str, Any]", row) if isinstance(row, dict) else {}
            if values.get("split") == TRAINING_SPLIT:
                found.append(str(values.get("id")))
    return found
