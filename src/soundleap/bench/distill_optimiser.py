"""AdamW and the averages alone, some tensors at a time: what they take is a sum over tensors."""

from __future__ import annotations

from collections.abc import Generator

import torch
from torch import Tensor, nn

from soundleap.bench.distill_clock import Clock
from soundleap.bench.distill_parts import axes_of, outline_student, shapes_of
from soundleap.bench.distill_settings import CaseName, DistillBenchSettings
from soundleap.bench.distill_stock import plain_adamw, plain_average
from soundleap.training.ema import make_ema, update_ema
from soundleap.training.optimise import adamw

NUMBERS_AT_ONCE = 50_000_000
"""Parameters that are in memory with gradient, two moments and an average."""


class Optimisers:
    """AdamW and averages over a student's tensors, as the engine has them and one by one."""

    def __init__(self, case: CaseName, settings: DistillBenchSettings) -> None:
        self.axes = axes_of(settings, case)
        student = outline_student(shapes_of(case, settings.size).teacher, self.axes)
        self.shapes = [
            p.shape for p in student.requires_grad_(True).parameters() if p.requires_grad
        ]
        self.averages = 2 if self.axes.objective == "consistency" else 1

    def run(self, number: int) -> Clock:
        """Clip, step and average as the engine does."""
        clock = Clock()
        for part in self._parts():
            optimizer, average = adamw(part, self.axes), make_ema(part)
            optimizer.step()  # makes the moments
            with clock.stage("optimiser"):
                nn.utils.clip_grad_norm_(part.parameters(), self.axes.gradient_clip)
                optimizer.step()
            with clock.stage("ema"):
                for _ in range(self.averages):
                    update_ema(average, part, self.axes.ema)
        return clock

    def run_stock(self, number: int) -> Clock:
        """Step and average parameter by parameter."""
        clock = Clock()
        for part in self._parts():
            optimizer, average = plain_adamw(part.parameters(), self.axes), make_ema(part)
            optimizer.step()
            with clock.stage("optimiser"):
                optimizer.step()
            with clock.stage("ema"):
                for _ in range(self.averages):
                    plain_average(average.parameters(), part.parameters(), self.axes.ema)
        return clock

    def _parts(self) -> Generator[nn.ParameterList]:
        """Give the tensors, with gradients, so many at a time."""
        waiting: list[torch.Size] = []
        for shape in [*self.shapes, None]:
            count = sum(map(torch.Size.numel, waiting))
            if waiting and (shape is None or count + shape.numel() > NUMBERS_AT_ONCE):
                yield nn.ParameterList([_parameter(each) for each in waiting])
                waiting = []
            if shape is not None:
                waiting.append(shape)


def _parameter(shape: torch.Size) -> Tensor:
    parameter = nn.Parameter(torch.full(shape, 0.01))
    parameter.grad = torch.full(shape, 0.001)
    return parameter
