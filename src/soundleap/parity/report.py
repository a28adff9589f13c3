"""What a run found, as a file."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from soundleap._version import __version__
from soundleap.errors import InputError

from .compare import Row


def check_report_path(path: Path) -> None:
    """Refuse a file that could not be written, before any work.

    Raises:
        InputError: if it is a folder, or its folder is not there.
    """
    if path.is_dir() or not path.parent.is_dir():
        raise InputError(f"can't write {path}: give a file in a folder that is there")


def write_report(path: Path, rows: Sequence[Row]) -> None:
    """Write all rows and the environment as JSON, by rename.

    Raises:
        InputError: if the file can't be written.
    """
    report = {
        "passed": all(row.passed for row in rows),
        "outputs": len(rows),
        "failed": sum(not row.passed for row in rows),
        "environment": {
            "soundleap": __version__,
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "machine": platform.machine(),
        },
        "rows": [{name: _plain(value) for name, value in asdict(row).items()} for row in rows],
    }
    partial = path.with_name(f"{path.name}.partial")
    try:
        partial.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise InputError(f"can't write {path}: {error.strerror}; give another file") from None
    finally:
        partial.unlink(missing_ok=True)


def _plain(value: Any) -> Any:
    """Give a number that JSON can hold: None for infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
