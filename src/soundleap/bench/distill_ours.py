"""One iteration as the engine does it: the preset's objective, optimiser and averages."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from soundleap.bench.distill_clock import Clock
from soundleap.bench.distill_parts import (
    Batch,
    axes_of,
    make_batch,
    make_network,
    make_student,
    shapes_of,
)
from soundleap.bench.distill_settings import CaseName, DistillBenchSettings
from soundleap.diffusion.schedules import NoiseSchedule
from soundleap.training.ema import make_ema, update_ema
from soundleap.training.loop import generator_for
from soundleap.training.objectives import objective_from
from soundleap.training.optimise import adamw


class Iteration:
    """Networks of a case and what a step does with them.

    Attributes:
        axes: settings of the preset.
        batch: latents and text states.
        teacher: frozen.
        student: in training.
        target: its average that it is compared with; None for guided distillation.
        average: what would be deployed; None in a reduced measurement.
        optimizer: as the engine sets it up; None in a reduced measurement.
    """

    def __init__(self, case: CaseName, settings: DistillBenchSettings) -> None:
        self.settings, self.axes = settings, axes_of(settings, case)
        shapes, reduced = shapes_of(case, settings.size), settings.reduced
        self.schedule = NoiseSchedule.scaled_linear()
        self.batch: Batch = make_batch(shapes, settings.batch_size)
        self.teacher = make_network(shapes.teacher, on_disk=reduced).eval().requires_grad_(False)
        self.student = make_student(self.teacher, self.axes, share=reduced)
        self.student.requires_grad_(True)
        self.student.checkpoint_gradients(settings.checkpointing)
        self.target = self._make_target() if self.axes.objective == "consistency" else None
        self.teacher.to(getattr(torch, self.axes.teacher_dtype))
        self.average = None if reduced else make_ema(self.student)
        self.optimizer = None if reduced else adamw(self.student, self.axes)
        if reduced:
            for parameter in self.student.parameters():
                if parameter.requires_grad:
                    parameter.register_post_accumulate_grad_hook(_drop_gradient)

    def run(self, number: int) -> Clock:
        """Do iteration `number`."""
        clock = Clock()
        with clock.stage("total"):
            self.student.zero_grad(set_to_none=True)
            with self.autocast():
                loss = self.loss(clock, number)
            with clock.stage("backward"):
                loss.backward()
            if self.optimizer is not None:
                with clock.stage("optimiser"):
                    nn.utils.clip_grad_norm_(self.student.parameters(), self.axes.gradient_clip)
                    self.optimizer.step()
                with clock.stage("ema"):
                    self.move_averages()
        return clock

    def autocast(self) -> AbstractContextManager[Any]:
        """Give the context of mixed precision."""
        half = self.settings.dtype == "bfloat16"
        return torch.autocast("cpu", torch.bfloat16) if half else nullcontext()

    def loss(self, clock: Clock, number: int) -> torch.Tensor:
        """Compute the loss, each network's share on the clock."""
        target = None if self.target is None else clock.around("target", self.target)
        objective = objective_from(
            self.axes,
            self.schedule,
            teacher=clock.around("teacher", self.teacher),
            student=clock.around("student", self.student),
            target=target,
        )
        batch, generator = self.batch, generator_for(self.axes.seed, number)
        terms = objective.sample(batch.x_0, batch.positive, batch.negative, generator)
        return terms.loss.mean()

    def move_averages(self) -> None:
        """Move the target, where there is one, and the deployed average."""
        for average, decay in ((self.target, self.axes.target_ema), (self.average, self.axes.ema)):
            if average is not None:
                update_ema(average, self.student, decay)

    def _make_target(self) -> nn.Module:
        if not self.settings.reduced:
            return make_ema(self.student)
        shared = make_student(self.student, self.axes, share=True)
        return shared.eval().requires_grad_(False)


def _drop_gradient(parameter: torch.Tensor) -> None:
    parameter.grad = None
