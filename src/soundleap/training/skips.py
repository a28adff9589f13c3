"""Steps that were skipped because a loss or gradient was not finite: counted, and too many stop."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from soundleap.data.manifest import write_text_atomically
from soundleap.errors import NotFiniteError


@dataclass(frozen=True)
class Inspection:
    """What a step worked on, to be looked at.

    Attributes:
        tensors: inputs and draws, by name.
        facts: plain values: which examples, which captions.
    """

    tensors: dict[str, Tensor]
    facts: dict[str, Any]

    @classmethod
    def of(cls, facts: Mapping[str, Any], **parts: Any) -> Inspection:
        """Collect tensors: parts that are one, and those in dataclasses after the part's name."""
        tensors: dict[str, Tensor] = {}
        for name, part in parts.items():
            if isinstance(part, Tensor):
                tensors[name] = part
            elif is_dataclass(part):
                found = {f.name: getattr(part, f.name) for f in fields(part)}
                inner = cls.of({}, **found).tensors
                tensors |= {f"{name}.{key}": value for key, value in inner.items()}
        return cls(tensors, dict(facts))

    def write(self, folder: Path, iteration: int) -> Path:
        """Write ``not-finite-….safetensors`` and ``.json``; return the path of the first."""
        path = folder / f"not-finite-{iteration:09d}.safetensors"
        save_file({k: v.detach().cpu().contiguous().clone() for k, v in self.tensors.items()}, path)
        text = json.dumps({"iteration": iteration, **self.facts}, indent=1, ensure_ascii=False)
        write_text_atomically(path.with_suffix(".json"), text + "\n")
        return path


class Skips:
    """Counts skipped steps on the device, so that nothing waits for it.

    Args:
        most: so many one after another are too many.
        counts: of `state`, from a checkpoint.
    """

    def __init__(self, most: int, counts: tuple[int, int, int] = (0, 0, 0)):
        total, row, last = counts
        self.most = most
        self._counts = torch.tensor([total, row, row, last])

    def add(self, skipped: Tensor, iteration: int) -> None:
        """Count a step: `skipped` is 1 or 0."""
        now = skipped.long()
        total, row, longest, last = self._counts.to(now.device).unbind()
        row = (row + 1) * now
        last = torch.where(now > 0, iteration, last)
        self._counts = torch.stack([total + now, row, torch.maximum(longest, row), last])

    @property
    def total(self) -> Tensor:
        """How many steps were skipped since the run began."""
        return self._counts[0]

    @property
    def now(self) -> Tensor:
        """How many of the latest steps, up to the last one."""
        return self._counts[1]

    @property
    def at_hand(self) -> bool:
        """Whether reading the counts makes no device wait."""
        return self._counts.device.type == "cpu"

    def too_many(self) -> int | None:
        """Return the last iteration that was skipped where too many were, one after another."""
        longest, last = self._counts[2:].tolist()
        return last if longest >= self.most else None

    def state(self) -> tuple[int, int, int]:
        """Return what a checkpoint holds: all, the latest in a row, the last one's iteration."""
        total, row, _, last = self._counts.tolist()
        return total, row, last


def too_many_skipped(most: int, iteration: int, path: str) -> NotFiniteError:
    """Make the error for a run whose steps are not finite any more."""
    return NotFiniteError(
        f"loss or gradient were not finite in {most} steps one after another, up to iteration "
        f"{iteration}; what that one worked on is in {path} and the JSON file beside it; the last "
        "checkpoint is good: go on from it with the same command and a lower learning_rate"
    )
