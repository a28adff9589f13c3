"""What a run writes about itself: settings.yaml and stats.jsonl."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import yaml
from torch import Tensor

from soundleap.data.manifest import write_text_atomically
from soundleap.errors import InputError, NotFiniteError
from soundleap.training.settings import RunSettings, as_dict

FREE = (
    "run_dir",
    "iterations",
    "max_minutes",
    "threads",
    "checkpoint_minutes",
    "snapshot_minutes",
    "log_iterations",
    "decay_share",
    "learning_rate",
    "final_learning_rate",
    "tracker",
    "keep_checkpoints",
    "max_skipped",
    "accumulation",
    "gradient_checkpointing",
    "shard",
    "preview_guidance",
)
"""Settings that may change when a run goes on."""


def write_settings(folder: Path, settings: RunSettings) -> None:
    """Write ``settings.yaml``."""
    text = yaml.safe_dump(as_dict(settings), sort_keys=False)
    write_text_atomically(folder / "settings.yaml", text)


def claim_folder(folder: Path, settings: RunSettings) -> None:
    """Make a run's folder, or check that the run there has the same settings but for `FREE`.

    Raises:
        InputError: naming what differs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path, values = folder / "settings.yaml", as_dict(settings)
    if path.exists():
        before = {**_defaults(settings), **_read_settings(path)}
        other = [key for key in values if key not in FREE and before.get(key) != values[key]]
        if other:
            changes = ", ".join(f"{k}: {before.get(k)} -> {values[k]}" for k in other)
            raise InputError(
                f"{folder} holds a run with other settings ({changes}); use another run_dir"
            )
    write_settings(folder, settings)


class Stats:
    """The reported scalars of a run, one line of ``stats.jsonl`` each time.

    Lines from after the checkpoint that a run resumes at are dropped: they will come again.
    """

    def __init__(self, folder: Path, iteration: int):
        self.path = folder / "stats.jsonl"
        self.lines = [line for line in read_stats(folder) if line["iteration"] <= iteration]
        text = "".join(json.dumps(line) + "\n" for line in self.lines)
        if self.path.exists() and self.path.read_text(encoding="utf-8") != text:
            write_text_atomically(self.path, text)
        self._seconds_before = float(self.lines[-1]["seconds"]) if self.lines else 0.0

    def add(self, iteration: int, seconds: float, values: Mapping[str, float]) -> None:
        """Write a line; `seconds` counts from the start of this process."""
        total = round(self._seconds_before + seconds, 1)
        line: dict[str, float] = {"iteration": iteration, "seconds": total, **values}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        self.lines.append(line)


def check_stats(
    iteration: int, stats: Mapping[str, Tensor], *, skipped: bool = False
) -> dict[str, float]:
    """Return scalars as numbers; of a step that was skipped those that are finite.

    Raises:
        NotFiniteError: if one is NaN or infinite although the step was not skipped.
    """
    values = {name: float(value) for name, value in stats.items()}
    if skipped:
        return {name: value for name, value in values.items() if math.isfinite(value)}
    bad = [name for name, value in values.items() if not math.isfinite(value)]
    if bad:
        raise not_finite(", ".join(bad), iteration)
    return values


def not_finite(what: str, iteration: int) -> NotFiniteError:
    """Make the error for a run that has diverged."""
    return NotFiniteError(
        f"{what} not finite at iteration {iteration}; the last checkpoint stays: go on from it "
        "with the same command and a lower learning_rate"
    )


def _defaults(settings: RunSettings) -> dict[str, Any]:
    fields = dataclasses.fields(settings)
    return {
        field.name: list(cast("tuple[Any, ...]", field.default))
        if isinstance(field.default, tuple)
        else field.default
        for field in fields
        if field.default is not dataclasses.MISSING
    }


def _read_settings(path: Path) -> dict[str, Any]:
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(values, dict):
        raise InputError(f"{path} is damaged; move it away to go on with the settings given")
    return cast("dict[str, Any]", values)


def read_stats(folder: Path) -> list[dict[str, float]]:
    """Read a run's ``stats.jsonl`` up to a line that a killed process left unfinished."""
    path, lines = folder / "stats.jsonl", list[dict[str, float]]()
    if path.exists():
        for text in path.read_text(encoding="utf-8").splitlines():
            try:
                lines.append(json.loads(text))
            except ValueError:
                break
    return lines
