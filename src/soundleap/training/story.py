"""What a training stage is to the loop."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import torch
from accelerate import Accelerator
from torch import nn

from soundleap.training.settings import RunSettings
from soundleap.training.skips import Inspection


class Story(Protocol):
    """One training stage as the loop sees it."""

    accelerator: Accelerator
    modules: dict[str, nn.Module]
    optimizers: dict[str, torch.optim.Optimizer]

    @property
    def settings(self) -> RunSettings:
        """The stage's settings."""
        ...

    def step(self, iteration: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
        """Do one optimisation step and return scalars to report, on whatever device.

        Two of them are the loop's: ``skipped`` (1 if the step was, for a loss or gradient that was
        not finite) and ``clips`` (on the CPU: how many the step learnt from).
        """
        ...

    def inspect(self, iteration: int, generator: torch.Generator) -> Inspection:
        """Return what the step of an iteration works on."""
        ...

    def snapshot(self, iteration: int, folder: Path) -> None:
        """Write sample sounds and pictures."""
        ...

    def export(self, folder: Path) -> None:
        """Write the result of the stage (safetensors with its configuration)."""
        ...
