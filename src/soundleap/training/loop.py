"""The training loop that every stage shares: report, checkpoint, snapshot, stop or step.

Every random draw of iteration *n* comes from a generator seeded with (seed, n), so a resumed run
equals a straight one without saving any random state. "To resume, run the same command again."
"""

from __future__ import annotations

import math
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from soundleap.data.disk import told_when_full
from soundleap.errors import DataError
from soundleap.training.checkpoint import list_checkpoints
from soundleap.training.processes import any_process, on_first
from soundleap.training.records import Stats, check_stats, claim_folder
from soundleap.training.run_report import RunReport
from soundleap.training.run_state import Progress, load_run, save_run
from soundleap.training.settings import RunSettings
from soundleap.training.sharding import is_sharded
from soundleap.training.skips import Skips, too_many_skipped
from soundleap.training.story import Story
from soundleap.training.trackers import check_trackers


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

    Outside of the main thread signals are left alone. Of several processes each calls this; the
    first one writes, and a signal to any stops all.

    Raises:
        InputError: if the folder holds a run with other settings (only limits may differ), or the
            package of a tracker is missing.
        NotFiniteError: if weights or a scalar are NaN, or too many steps had to be skipped; the
            last checkpoint stays.
        DataError: if training data are lost or damaged; a checkpoint of the state before the step
            is written first, of one process.
        DiskFullError: if there is no room for what has to be written; the last checkpoint stays.
        SoundleapError: if there are checkpoints and none can be read.
    """
    folder = Path(story.settings.run_dir)
    with told_when_full(folder, lambda: _what_stays(folder)):
        run = _Run(story, progress=progress)
        with _caught_signals() as signals:
            return run.go(signals)


def _what_stays(folder: Path) -> str:
    paths = list_checkpoints(folder)
    stays = (
        f"the last checkpoint, {paths[-1].name}, stays" if paths else "no checkpoint was written"
    )
    return f"{stays}; make room and give the same command again"


@dataclass(frozen=True)
class _Due:
    """What all processes agree to do before the next step."""

    stop: bool
    interrupted: bool
    save: bool
    show: bool


class _Run:
    """A stage on its way."""

    def __init__(self, story: Story, *, progress: bool):
        self.story, self.settings = story, story.settings
        self.accelerator, self.folder = story.accelerator, Path(story.settings.run_dir)
        self.main = self.accelerator.is_main_process
        on_first(self.accelerator, lambda: check_trackers(self.settings))
        on_first(self.accelerator, lambda: claim_folder(self.folder, self.settings))
        before = load_run(story, self.folder)
        self.first = self.iteration = before.iteration
        self.clips, self.skips = before.clips, Skips(self.settings.max_skipped, before.skips)
        self.scalars: dict[str, torch.Tensor] = {}
        self.stats = Stats(self.folder, self.first) if self.main else None
        self.report = RunReport(
            self.settings, self.folder, self.first, progress=progress, main=self.main
        )
        self.started = self.saved = self.shown = time.monotonic()

    def go(self, signals: list[int]) -> RunEnd:
        """Do the steps that are left."""
        finished = False
        try:
            while not (due := self._due(signals)).stop:
                self._record(due)
                self._step()
            self._record(due)
            finished = self.iteration >= self.settings.iterations
            self._plot(due)
        finally:
            self.report.end(self.iteration, finished=finished)
        return RunEnd(self.folder, self.iteration, finished, due.interrupted)

    def _due(self, signals: list[int]) -> _Due:
        settings, now, main = self.settings, time.monotonic(), self.main
        late = settings.max_minutes is not None and now - self.started > 60 * settings.max_minutes
        save = now - self.saved > 60 * settings.checkpoint_minutes
        show = now - self.shown > 60 * settings.snapshot_minutes
        interrupted, late, save, show = any_process(
            self.accelerator, bool(signals), main and late, main and save, main and show
        )
        worked, whole = self.iteration > self.first, self.iteration >= settings.iterations
        stop = whole or (late and worked) or interrupted
        return _Due(stop, interrupted, save or show or stop, show or (stop and not interrupted))

    def _record(self, due: _Due) -> None:
        """Log, save and show what there is to."""
        if self.iteration == self.first:
            if due.stop:  # it may have been killed between checkpoint and export
                self._everywhere(self.story.export)
            return
        whole = self.iteration >= self.settings.iterations
        logs = whole or self.iteration % self.settings.log_iterations == 0
        if logs or due.save or self.skips.at_hand:
            self._check_skips()
        if logs:
            self._log()
        if due.save:
            self._save()
        if due.show:
            self._show()

    def _step(self) -> None:
        settings, story, n = self.settings, self.story, self.iteration
        for optimizer in story.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = group.get("lr_scale", 1.0) * learning_rate(settings, n)
        try:
            scalars = story.step(n, generator_for(settings.seed, n))
        except DataError:  # nothing of the step has happened yet
            if n > self.first and self.accelerator.num_processes == 1:
                self._save()
            raise
        self.clips += int(scalars.pop("clips", 0))
        if "skipped" in scalars:
            self.skips.add(scalars.pop("skipped"), n)
        self.scalars = scalars
        self.iteration += 1
        self.report.step(self.iteration)

    def _check_skips(self) -> None:
        """Stop if too many steps were skipped, with what the last one worked on in the folder.

        Raises:
            NotFiniteError: then.
        """
        last = self.skips.too_many()
        if last is None:
            return
        found = self.story.inspect(last, generator_for(self.settings.seed, last))
        path = on_first(self.accelerator, lambda: str(found.write(self.folder, last)))
        raise too_many_skipped(self.settings.max_skipped, last, path)

    def _numbers(self) -> dict[str, float]:
        return check_stats(self.iteration, self.scalars, skipped=bool(self.skips.now))

    def _log(self) -> None:
        values = {**self._numbers(), "skipped": int(self.skips.total), "clips_seen": self.clips}
        if self.stats is not None:
            self.stats.add(self.iteration, time.monotonic() - self.started, values)
            self.report.scalars(self.iteration, values)

    def _save(self) -> None:
        self._numbers()
        progress = Progress(self.iteration, self.clips, self.skips.state())
        save_run(self.story, self.folder, progress, keep=self.settings.keep_checkpoints)
        self._everywhere(self.story.export)
        self.saved = time.monotonic()

    def _show(self) -> None:
        self._everywhere(lambda folder: self.story.snapshot(self.iteration, folder))
        self.report.snapshot(self.iteration)
        self.shown = time.monotonic()

    def _plot(self, due: _Due) -> None:
        if self.stats is not None and self.stats.lines and not due.interrupted:
            from soundleap.training.snapshots import plot_losses

            plot_losses(self.stats.lines, self.folder / "losses.png")

    def _everywhere(self, work: Callable[[Path], None]) -> None:
        """Let the first process write; where networks are sharded the others help."""
        if not is_sharded(*self.story.modules.values()):
            on_first(self.accelerator, lambda: work(self.folder))
        elif self.main:
            work(self.folder)
        else:
            with tempfile.TemporaryDirectory() as nowhere:
                work(Path(nowhere))


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
