"""One iteration in the plain formulation, as the published descriptions give it.

Written from the published facts, to have something to compare with on the same machine: the same
networks on torch's own kernels, text and latents encoded in every iteration, averages and AdamW
parameter by parameter. It computes the same losses from the same draws.

Source: Bai et al., ConsistencyTTA (2024), sections 3.2 and 3.3; Liu et al., AudioLCM (2024); Luo et
al., Latent Consistency Models (2023), algorithm 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from soundleap.bench.distill_clock import Clock
from soundleap.bench.distill_ours import Iteration
from soundleap.diffusion.times import per_sample
from soundleap.models.fast_cpu import torchs_own
from soundleap.training.loop import generator_for
from soundleap.training.settings import RunSettings

EDGE = 0.5
"""Boundary scalings: sigma_data."""


class StockIteration:
    """The plain formulation on the networks of an `Iteration`."""

    def __init__(self, ours: Iteration, case: str) -> None:
        self.ours, self.case = ours, case
        parameters = ours.student.parameters()
        self.optimizer = None if ours.optimizer is None else plain_adamw(parameters, ours.axes)

    def run(self, number: int) -> Clock:
        """Do iteration `number`."""
        clock, loss_of, ours = Clock(), LOSSES[self.case], self.ours
        recomputes = self.case == "audiolcm" or ours.settings.checkpointing
        ours.student.checkpoint_gradients(recomputes)
        try:
            with torchs_own(), clock.stage("total"):
                ours.student.zero_grad()
                with ours.autocast():
                    loss = loss_of(ours, clock, number)
                with clock.stage("backward"):
                    loss.backward()
                if self.optimizer is not None:
                    with clock.stage("optimiser"):
                        self.optimizer.step()
                    with clock.stage("ema"):
                        self._average()
        finally:
            ours.student.checkpoint_gradients(ours.settings.checkpointing)
        return clock

    def _average(self) -> None:
        ours = self.ours
        for average, decay in ((ours.target, ours.axes.target_ema), (ours.average, ours.axes.ema)):
            if average is not None:
                plain_average(average.parameters(), ours.student.parameters(), decay)


def plain_adamw(parameters: Iterable[Tensor], axes: RunSettings) -> torch.optim.AdamW:
    """Make AdamW that goes parameter by parameter."""
    return torch.optim.AdamW(
        parameters, axes.learning_rate, weight_decay=axes.weight_decay, foreach=False, fused=False
    )


@torch.no_grad()
def plain_average(averages: Iterable[Tensor], news: Iterable[Tensor], decay: float) -> None:
    """Move an average parameter by parameter."""
    for old, new in zip(averages, news, strict=True):
        old.mul_(decay).add_(new, alpha=1 - decay)


def guided_loss(ours: Iteration, clock: Clock, number: int) -> Tensor:
    """ConsistencyTTA's first stage: the student gives the teacher's guided velocity."""
    batch, schedule = ours.batch, ours.schedule
    generator = generator_for(ours.axes.seed, number)
    t = torch.randint(schedule.num_train_steps, (len(batch.x_0),), generator=generator)
    w = 6.0 * torch.rand(len(t), generator=generator)
    eps = torch.randn(batch.x_0.shape, generator=generator)
    alpha, sigma = _levels(ours, t)
    x_t = torch.where(per_sample(t == 999, eps).bool(), eps, alpha * batch.x_0 + sigma * eps)
    with torch.no_grad():
        v = _guided_teacher(ours, clock, x_t, t, w)
    with clock.stage("student"):
        found = ours.student(x_t, t.float(), **batch.positive, w=w)
    snr = (alpha / sigma).flatten() ** 2
    weight = snr.clamp(max=5.0) / (snr + 1)
    return (weight * (found - v).square().flatten(1).mean(1)).mean()


def heun_loss(ours: Iteration, clock: Clock, number: int) -> Tensor:
    """ConsistencyTTA's second stage: one Heun step of the teacher on x_0 + sigma eps."""
    batch = ours.batch
    generator = generator_for(ours.axes.seed, number)
    interval = torch.randint(17, (len(batch.x_0),), generator=generator)
    w = 6.0 * torch.rand(len(interval), generator=generator)
    eps = torch.randn(batch.x_0.shape, generator=generator)
    times = torch.linspace(0, 999, 18, dtype=torch.float64)
    t, s = times[interval + 1], times[interval]
    level, below = (per_sample(ours.schedule.sigma_ve(x), eps) for x in (t, s))
    z = torch.where(per_sample(t == 999, eps).bool(), torch.zeros(()), batch.x_0) + level * eps
    with torch.no_grad():
        slope = (z - _clean(ours, clock, z, level, t, w)) / level
        euler = z + (below - level) * slope
        again = (euler - _clean(ours, clock, euler, below, s, w)) / below
        end = z + (below - level) * (slope + again) / 2
        with clock.stage("target"):
            target: Any = ours.target
            aim = target(end * (below**2 + 1).rsqrt(), s.float(), **batch.positive, w=w)
        aim = torch.where(per_sample(s == 0, eps).bool(), batch.x_0, aim)
    with clock.stage("student"):
        found = ours.student(z * (level**2 + 1).rsqrt(), t.float(), **batch.positive, w=w)
    weight = (level.flatten() ** -2).clamp(max=5.0)
    return (weight * (found - aim).square().flatten(1).mean(1)).mean()


def lcm_loss(ours: Iteration, clock: Clock, number: int) -> Tensor:
    """AudioLCM: one DDIM step of 20 timesteps, the two halves of guidance asked one by one."""
    batch = ours.batch
    generator = generator_for(ours.axes.seed, number)
    t = 20 * torch.randint(50, (len(batch.x_0),), generator=generator) + 19
    w = 4.0 + 8.0 * torch.rand(len(t), generator=generator)
    eps = torch.randn(batch.x_0.shape, generator=generator)
    s = (t - 20).clamp_min(0)
    (alpha, sigma), (alpha_s, sigma_s) = _levels(ours, t), _levels(ours, s)
    x_t = alpha * batch.x_0 + sigma * eps
    with clock.stage("student"):
        found = ours.student(x_t, t.float(), **batch.positive, w=w + 1)
    ours_x_0 = _boundary(x_t, (x_t - sigma * found) / alpha, t)
    with torch.no_grad():
        halves = []
        for conditions in (batch.positive, batch.negative):
            with clock.stage("teacher"):
                halves.append(ours.teacher(x_t, t.float(), **conditions))
        noise = halves[0] + per_sample(w, eps) * (halves[0] - halves[1])
        x_s = alpha_s * (x_t - sigma * noise) / alpha + sigma_s * noise
        with clock.stage("target"):
            target: Any = ours.target
            there = target(x_s, s.float(), **batch.positive, w=w + 1)
        aim = _boundary(x_s, (x_s - sigma_s * there) / alpha_s, s)
    return ((ours_x_0 - aim).square() + 1e-6).sqrt().sub(1e-3).mean()


LOSSES: dict[str, Callable[[Iteration, Clock, int], Tensor]] = {
    "consistencytta-stage1": guided_loss,
    "consistencytta-stage2": heun_loss,
    "audiolcm": lcm_loss,
}
"""The losses by case."""


def _guided_teacher(ours: Iteration, clock: Clock, x: Tensor, t: Tensor, w: Tensor) -> Tensor:
    both = {
        name: torch.cat([ours.batch.negative[name], value])
        for name, value in ours.batch.positive.items()
    }
    with clock.stage("teacher"):
        output = ours.teacher(torch.cat([x, x]), torch.cat([t, t]).float(), **both)
    without, with_text = output.chunk(2)
    return per_sample(1 - w, x) * without + per_sample(w, x) * with_text


def _clean(ours: Iteration, clock: Clock, z: Tensor, level: Tensor, t: Tensor, w: Tensor) -> Tensor:
    narrow = (level**2 + 1).rsqrt()
    v = _guided_teacher(ours, clock, z * narrow, t, w)
    return z * narrow**2 - v * level * narrow


def _levels(ours: Iteration, t: Tensor) -> tuple[Tensor, Tensor]:
    times = t.double()
    x, schedule = ours.batch.x_0, ours.schedule
    return per_sample(schedule.alpha(times), x), per_sample(schedule.sigma(times), x)


def _boundary(x: Tensor, x_0: Tensor, t: Tensor) -> Tensor:
    tau = 10.0 * t.double()
    skip = EDGE**2 / (tau**2 + EDGE**2)
    return per_sample(skip, x) * x + per_sample(tau * (tau**2 + EDGE**2).rsqrt(), x) * x_0
