"""What a checkpoint holds of a run, gathered from all processes and given back to them."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from soundleap.errors import SoundleapError
from soundleap.training.checkpoint import (
    checkpoint_path,
    load_checkpoint,
    load_latest,
    save_checkpoint,
)
from soundleap.training.processes import on_first
from soundleap.training.records import not_finite
from soundleap.training.sharding import load_module, load_optimizer, whole
from soundleap.training.story import Story

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        iteration: steps done.
        clips: items learnt from, each as often as it came.
        skips: counts of `Skips.state`.
    """

    iteration: int = 0
    clips: int = 0
    skips: tuple[int, int, int] = (0, 0, 0)


def save_run(story: Story, folder: Path, progress: Progress, *, keep: int) -> None:
    """Write a checkpoint, on the first process; all take part.

    Raises:
        NotFiniteError: if a weight is NaN or infinite.
    """
    main = story.accelerator.is_main_process
    modules = {name: module.state_dict() for name, module in story.modules.items()}
    optimizers = {name: part.state_dict() for name, part in story.optimizers.items()}
    state: dict[str, Any] = {
        "iteration": progress.iteration,
        "clips_seen": progress.clips,
        "skips": progress.skips,
        "modules": whole(modules, keep=main),
        "optimizers": whole(optimizers, keep=main),
    }

    def write() -> None:
        for name, weights in state["modules"].items():
            if not all(bool(torch.isfinite(value).all()) for value in weights.values()):
                raise not_finite(f"weights of {name}", progress.iteration)
        save_checkpoint(folder, progress.iteration, state, keep=keep)

    on_first(story.accelerator, write)


def load_run(story: Story, folder: Path) -> Progress:
    """Bring a story to where its newest checkpoint is, if there is one.

    Raises:
        SoundleapError: if there are checkpoints and none can be read, or not on all processes.
    """
    state = _load(story.accelerator, folder)
    if state is None:
        return Progress()
    for name, module in story.modules.items():
        load_module(module, state["modules"][name])
    for name, optimizer in story.optimizers.items():
        load_optimizer(optimizer, state["optimizers"][name])
    logger.info("resumed at iteration %d", state["iteration"])
    return Progress(
        state["iteration"], state.get("clips_seen", 0), tuple(state.get("skips", (0, 0, 0)))
    )


def _load(accelerator: Accelerator, folder: Path) -> dict[str, Any] | None:
    """Load the newest checkpoint that the first process can read, on all of them."""
    found: list[dict[str, Any] | None] = []

    def look() -> int | None:
        found.append(load_latest(folder))
        return None if found[0] is None else int(found[0]["iteration"])

    iteration = on_first(accelerator, look)
    if iteration is None or found:
        return found[0] if found else None
    path = checkpoint_path(folder, iteration)
    try:
        return load_checkpoint(path, mapped=True)
    except OSError as error:
        raise SoundleapError(
            f"process {accelerator.process_index} can't read {path} ({error}); all processes need "
            "the folder of the run, in the same place"
        ) from None
