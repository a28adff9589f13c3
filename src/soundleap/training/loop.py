"""The training loop that every stage shares: report, snapshot, checkpoint, stop or step.

Every random draw of iteration *n* comes from a generator seeded with (seed, n), so a resumed run equals a
straight one without saving any random state. "To resume, run the same command again."
"""

from __future__ import annotations

import json
import logging
import math
import signal
import time
from pathlib import Path
from typing import Any, Protocol

import torch
import yaml
from accelerate import Accelerator
from torch import nn
from tqdm import tqdm

from soundleap.errors import InputError, NotFiniteError
from soundleap.training.checkpoint import load_latest, save_checkpoint
from soundleap.training.settings import RunSettings, as_dict

logger = logging.getLogger(__name__)


class Story(Protocol):
    """One training stage as the loop sees it."""

    settings: RunSettings
    modules: dict[str, nn.Module]
    optimizers: dict[str, torch.optim.Optimizer]

    def step(self, iteration: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
        """Do one optimisation step and return scalars to report."""
        ...

    def snapshot(self, iteration: int, folder: Path) -> None:
        """Write sample sounds and pictures."""
        ...

    def export(self, folder: Path) -> None:
        """Write the result of the stage (safetensors with its configuration)."""
        ...


def make_accelerator(settings: RunSettings) -> Accelerator:
    """Set up device, precision and processes."""
    torch.set_num_threads(settings.threads)
    precision = settings.mixed_precision
    return Accelerator(mixed_precision=precision, cpu=not torch.cuda.is_available())


def generator_for(seed: int, iteration: int, rank: int = 0) -> torch.Generator:
    """Return the generator of one iteration on one process."""
    mixed = (seed * 1_000_003 + iteration) * 1_009 + rank
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


def train(story: Story, *, progress: bool = True) -> Path:
    """Run a stage to its end, or until its time is up, or until Ctrl-C; return the run's folder.

    Raises:
        InputError: if the folder holds a run with other settings (only limits may differ).
        NotFiniteError: if a loss is NaN; the last checkpoint stays.
    """
    settings = story.settings
    folder = Path(settings.run_dir)
    _claim(folder, settings)
    iteration = _resume(story, folder)
    interrupted = _catch_signals()
    started = saved = shown = time.monotonic()
    bar = tqdm(total=settings.iterations, initial=iteration, disable=not progress, unit="it")
    stats: dict[str, torch.Tensor] = {}
    while True:
        now = time.monotonic()
        late = settings.max_minutes is not None and now - started > 60 * settings.max_minutes
        done = iteration >= settings.iterations or late or bool(interrupted)
        if stats and (iteration % settings.log_iterations == 0 or done):
            _report(folder, iteration, stats, now - started, bar)
        if done or now - saved > 60 * settings.checkpoint_minutes:
            save_checkpoint(folder, iteration, _state(story, iteration))
            story.export(folder)
            saved = time.monotonic()
        if now - shown > 60 * settings.snapshot_minutes or (done and not interrupted):
            story.snapshot(iteration, folder)
            shown = time.monotonic()
        if done:
            break
        for optimizer in story.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = group.get("lr_scale", 1.0) * learning_rate(settings, iteration)
        stats = story.step(iteration, generator_for(settings.seed, iteration))
        iteration += 1
        bar.update()
    bar.close()
    return folder


def _claim(folder: Path, settings: RunSettings) -> None:
    """Write settings.yaml, or check that the run there has the same settings."""
    free = {"iterations", "max_minutes", "threads", "checkpoint_minutes", "snapshot_minutes",
            "log_iterations", "decay_share", "learning_rate", "final_learning_rate"}  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    path, values = folder / "settings.yaml", as_dict(settings)
    if path.exists():
        before: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
        other = [k for k in values if k not in free and before.get(k) != values[k]]
        if other:
            changes = ", ".join(f"{k}: {before.get(k)} -> {values[k]}" for k in other)
            raise InputError(
                f"{folder} holds a run with other settings ({changes}); use another run_dir"
            )
    path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")


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
    return {
        "iteration": iteration,
        "modules": {name: module.state_dict() for name, module in story.modules.items()},
        "optimizers": {name: part.state_dict() for name, part in story.optimizers.items()},
    }


def _report(
    folder: Path, iteration: int, stats: dict[str, torch.Tensor], seconds: float, bar: Any
) -> None:
    values = {name: float(value) for name, value in stats.items()}
    bad = [name for name, value in values.items() if not math.isfinite(value)]
    if bad:
        raise NotFiniteError(
            f"{', '.join(bad)} not finite at iteration {iteration}; the last checkpoint stays"
        )
    line = {"iteration": iteration, "seconds": round(seconds, 1), **values}
    with (folder / "stats.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    bar.set_postfix({name: f"{value:.3g}" for name, value in values.items()})


def _catch_signals() -> list[int]:
    """Make Ctrl-C and SIGTERM end the run after the step in progress, with a checkpoint."""
    seen: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _: seen.append(received))
    return seen
