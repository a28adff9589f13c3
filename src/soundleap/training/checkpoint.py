"""Checkpoints: renamed when whole, the last few kept, damaged ones passed over."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import Any

import torch

from soundleap.errors import SoundleapError

logger = logging.getLogger(__name__)
KEEP = 2
_NAME = re.compile(r"^checkpoint-(\d{9})\.pt$")


def save_checkpoint(folder: Path, iteration: int, state: dict[str, Any]) -> Path:
    """Write a checkpoint atomically and delete all but the newest `KEEP`."""
    path = folder / f"checkpoint-{iteration:09d}.pt"
    for left in folder.glob("checkpoint-*.partial"):  # by a process that was killed
        left.unlink()
    partial = path.with_suffix(".partial")
    try:
        with partial.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    for old in list_checkpoints(folder)[:-KEEP]:
        old.unlink()
    return path


def list_checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints of a run, oldest first."""
    return sorted(path for path in folder.glob("checkpoint-*.pt") if _NAME.match(path.name))


def load_latest(folder: Path) -> dict[str, Any] | None:
    """Return the newest checkpoint that can be read, or None where there is none.

    A damaged checkpoint is named in the log and the one before it is used.

    Raises:
        SoundleapError: if there are checkpoints and none can be read.
    """
    paths = list_checkpoints(folder)
    for path in reversed(paths):
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            logger.warning("checkpoint %s can't be read (%s); trying the one before", path, error)
    if paths:
        raise SoundleapError(
            f"none of the {len(paths)} checkpoints in {folder} can be read; "
            "move them away to start anew"
        )
    return None
