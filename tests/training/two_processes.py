"""Runs of several processes: this file is what each of them executes, and starts them."""

from __future__ import annotations

import json
import os
import pickle
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.distributed.tensor import DTensor

from soundleap.training.distillation import DistillationSettings, DistillationStory
from soundleap.training.loop import train
from soundleap.training.teacher import TeacherSettings, TeacherStory


@dataclass(frozen=True)
class Job:
    """A run that all processes do together.

    Attributes:
        settings: of the run.
        stop: process and iteration at which SIGTERM comes.
        poison: process whose part of the losses of iterations 3 and 4 is not finite.
    """

    settings: TeacherSettings | DistillationSettings
    stop: tuple[int, int] | None = None
    poison: int | None = None


def start(jobs: list[Job], folder: Path, processes: int = 2) -> list[list[dict[str, Any]]]:
    """Let processes do jobs; return what each of them tells of each job."""
    folder.mkdir()
    (folder / "jobs.pickle").write_bytes(pickle.dumps(jobs))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {
        "WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes),
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    started = [
        subprocess.Popen(
            [sys.executable, __file__, str(folder)],
            env={**os.environ, **common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(processes)
    ]
    assert [process.wait() for process in started] == [0] * processes
    return [json.loads((folder / f"told-{rank}.json").read_text()) for rank in range(processes)]


def make_story(job: Job) -> TeacherStory | DistillationStory:
    if isinstance(job.settings, TeacherSettings):
        return TeacherStory(job.settings, progress=False)
    return DistillationStory(job.settings, progress=False)


def do(job: Job) -> dict[str, Any]:
    story = make_story(job)
    rank, step = story.accelerator.process_index, story.step

    def changed(iteration: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
        if job.stop == (rank, iteration):
            signal.raise_signal(signal.SIGTERM)
        hook, module = None, next(iter(story.modules.values()))
        if job.poison == rank and iteration in (3, 4):
            hook = module.register_forward_hook(lambda *args: args[2] * float("nan"))
        scalars = step(iteration, generator)
        if hook is not None:
            hook.remove()
        return scalars

    story.step = changed
    end = train(story, progress=False)
    tensors = [p for module in story.modules.values() for p in module.parameters()]
    tensors += [
        value
        for optimizer in story.optimizers.values()
        for moments in optimizer.state.values()
        for value in moments.values()
        if value.ndim
    ]
    cut = [t for t in tensors if isinstance(t, DTensor)]
    frozen = getattr(story, "teacher", None)
    return {
        "iteration": end.iteration,
        "finished": end.finished,
        "interrupted": end.interrupted,
        "tensors": len(tensors),
        "cut": len(cut),
        "numbers": sum(t.numel() for t in cut),
        "here": sum(t.to_local().numel() for t in cut),
        "teacher_cut": frozen is not None
        and all(isinstance(p, DTensor) for p in frozen.parameters()),
    }


if __name__ == "__main__":
    place = Path(sys.argv[1])
    told = [do(job) for job in pickle.loads((place / "jobs.pickle").read_bytes())]
    (place / f"told-{os.environ['RANK']}.json").write_text(json.dumps(told))
