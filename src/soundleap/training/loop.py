"""The training loop that every stage shares: report, checkpoint, snapshot, stop or step.

Every random draw of iteration *n* comes from a generator seeded with (seed, n), so a resumed run
equals a straight one without saving any random state. "To resume, run the same command again."
"""

from __future__ import annotations

import logging
import math
import signal
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn
from tqdm import tqdm

from soundleap.training.checkpoint import load_latest, save_checkpoint
from soundleap.training.records import Stats, check_stats, claim_folder, not_finite
from soundleap.training.settings import RunSettings

logger = logging.getLogger(__name__)


class Story(Protocol):
    """One training stage as the loop sees it."""

    modules: dict[str, nn.Module]
    optimizers: dict[str, torch.optim.Optimizer]

    @property
    def settings(self) -> RunSettings:
        """The stage's settings."""
        ...

    def step(self, iteration: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
        """Do one optimisation step and return scalars to report."""
        ...

    def snapshot(self, iteration: int, folder: Path) -> None:
        """Write sample sounds and pictures."""
        ...

    def export(self, folder: Path) -> None:
        """Write the result of the stage (safetensors with its configuration)."""
        ...


@dataclass(frozen=True)
class RunEnd:
    """How a call of `train` ended.

    Attributes:
        folder: of the run.
        iteration: steps done since the run began.
        finished: whether that is all of them; else the same command goes on.
        interrupted: whether Ctrl-C or SIGTERM ended it.
    """

    folder: Path
    iteration: int
    finished: bool
    interrupted: bool


def generator_for(seed: int, iteration: int) -> torch.Generator:
    """Return the generator of one iteration."""
    mixed = (seed * 1_000_003 + iteration) * 1_009
    return torch.Generator().manual_seed(mixed % (2**63))


def learning_rate(settings: RunSettings, iteration: int) -> float:
    """Return the rate: linear warm-up, flat, then a cosine to the final rate."""
    peak, final = settings.learning_rate, settings.final_learning_rate
    if iteration < settings.warmup_iterations:
        return peak * (iteration + 1) / settings.warmup_iterations
    start = settings.iterations * (1.0 - settings.decay_share)
    if iteration < start:
        return peak
    progress = min(1.0, (iteration - start) / max(1.0, settings.iterations - start))
    return final + (peak - final) * 0.5 * (1.0 + math.cos(math.pi * progress))


def train(story: Story, *, progress: bool = True) -> RunEnd:
    """Run a stage to its end, or until its time is up, or until Ctrl-C or SIGTERM.

    Outside of the main thread signals are left alone.

    Raises:
        InputError: if the folder holds a run with other settings (only limits may differ).
        NotFiniteError: if a loss or weight is NaN; the last checkpoint stays.
        SoundleapError: if there are checkpoints and none can be read.
    """
    settings, folder = story.settings, Path(story.settings.run_dir)
    claim_folder(folder, settings)
    first = _resume(story, folder)
    stats = Stats(folder, first)
    bar = tqdm(total=settings.iterations, initial=first, disable=not progress, unit="it")
    with bar, _caught_signals() as signals:
        iteration = _iterate(story, stats, first, signals, bar)
    end = RunEnd(folder, iteration, iteration >= settings.iterations, bool(signals))
    if stats.lines and not end.interrupted:
        from soundleap.training.snapshots import plot_losses

        plot_losses(stats.lines, folder / "losses.png")
    return end


def _iterate(story: Story, stats: Stats, first: int, signals: list[int], bar: Any) -> int:
    """Do the steps from iteration `first` on; return the iteration at which it stopped."""
    settings, folder = story.settings, stats.path.parent
    iteration, scalars = first, dict[str, torch.Tensor]()
    started = saved = shown = time.monotonic()
    while True:
        now = time.monotonic()
        worked, whole = iteration > first, iteration >= settings.iterations
        late = settings.max_minutes is not None and now - started > 60 * settings.max_minutes
        done = whole or (late and worked) or bool(signals)
        if worked and (whole or iteration % settings.log_iterations == 0):
            bar.set_postfix(stats.add(iteration, now - started, scalars))
        show = now - shown > 60 * settings.snapshot_minutes or (done and not signals)
        if worked and (done or show or now - saved > 60 * settings.checkpoint_minutes):
            check_stats(iteration, scalars)
            save_checkpoint(folder, iteration, _state(story, iteration))
            story.export(folder)
            saved = time.monotonic()
        if worked and show:
            story.snapshot(iteration, folder)
            shown = time.monotonic()
        if done:
            if not worked:  # it may have been killed between checkpoint and export
                story.export(folder)
            return iteration
        _set_learning_rate(story, iteration)
        scalars = story.step(iteration, generator_for(settings.seed, iteration))
        iteration += 1
        bar.update()


def _set_learning_rate(story: Story, iteration: int) -> None:
    for optimizer in story.optimizers.values():
        for group in optimizer.param_groups:
            group["lr"] = group.get("lr_scale", 1.0) * learning_rate(story.settings, iteration)


def _resume(story: Story, folder: Path) -> int:
    state = load_latest(folder)
    if state is None:
        return 0
    for name, module in story.modules.items():
        module.load_state_dict(state["modules"][name])
    for name, optimizer in story.optimizers.items():
        optimizer.load_state_dict(state["optimizers"][name])
    logger.info("resumed at iteration %d", state["iteration"])
    return int(state["iteration"])


def _state(story: Story, iteration: int) -> dict[str, Any]:
    """Return what a checkpoint holds; weights that are not finite are refused."""
    modules = {name: module.state_dict() for name, module in story.modules.items()}
    for name, state in modules.items():
        if not all(bool(torch.isfinite(value).all()) for value in state.values()):
            raise not_finite(f"weights of {name}", iteration)
    return {
        "iteration": iteration,
        "modules": modules,
        "optimizers": {name: part.state_dict() for name, part in story.optimizers.items()},
    }


@contextmanager
def _caught_signals() -> Generator[list[int]]:
    """Let Ctrl-C and SIGTERM end the run after the step in progress, with a checkpoint."""
    seen: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield seen
        return
    before = {
        number: signal.signal(number, lambda received, _: seen.append(received))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
