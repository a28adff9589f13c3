"""Checkpoints: renamed when whole, the last few kept, damaged ones passed over."""

from __future__ import annotations

import logging
import os
import re
import zipfile
from pathlib import Path
from typing import Any

import torch

from soundleap.errors import SoundleapError

logger = logging.getLogger(__name__)
KEEP = 2
_NAME = re.compile(r"^checkpoint-(\d{9})\.pt$")


def save_checkpoint(
    folder: Path, iteration: int, state: dict[str, Any], *, keep: int = KEEP
) -> Path:
    """Write a checkpoint atomically and delete all but the newest `keep`.

    The old ones go when the new one is safe on the disk.
    """
    path = checkpoint_path(folder, iteration)
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
    _sync_folder(folder)
    for old in list_checkpoints(folder)[:-keep]:
        old.unlink()
    return path


def checkpoint_path(folder: Path, iteration: int) -> Path:
    """Return where the checkpoint of an iteration is."""
    return folder / f"checkpoint-{iteration:09d}.pt"


def list_checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints of a run, oldest first."""
    return sorted(path for path in folder.glob("checkpoint-*.pt") if _NAME.match(path.name))


def load_checkpoint(path: Path, *, mapped: bool = False) -> dict[str, Any]:
    """Read a checkpoint, or map it from the file, so that several processes share its memory.

    Raises:
        ValueError: if a part of it is not what was written.
        OSError: if it can't be read.
        Exception: whatever torch says of a file that is no checkpoint.
    """
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()  # torch itself compares no checksum
    if damaged is not None:
        raise ValueError(f"the checksum of {damaged} is wrong")
    return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)


def load_latest(folder: Path) -> dict[str, Any] | None:
    """Return the newest checkpoint that can be read, or None where there is none.

    A damaged checkpoint is named in the log and the one before it is used.

    Raises:
        SoundleapError: if there are checkpoints and none can be read.
    """
    paths = list_checkpoints(folder)
    for path in reversed(paths):
        try:
            return load_checkpoint(path)
        except Exception as error:
            logger.warning("checkpoint %s can't be read (%s); trying the one before", path, error)
    if paths:
        raise SoundleapError(
            f"none of the {len(paths)} checkpoints in {folder} can be read; "
            "move them away to start anew"
        )
    return None


def _sync_folder(folder: Path) -> None:
    """Make a rename last through a loss of power, where the system knows how."""
    if os.name == "posix":
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)
