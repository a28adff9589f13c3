"""Consistency distillation as a function of networks, settings and explicit draws.

    loss = weight(t) · d( f_online(x_t, t, w),  sg f_target( Φ^m(x_t; t -> s, w), s, w ) )

with t a point of a coarse grid, s the point `skip_points` below it, and Φ^m the teacher's guided
solver applied m times: m = 1 jumps the interval, m > 1 walks it.

Source: Song et al., Consistency Models (2023), algorithm 2; Luo et al., Latent Consistency Models
(2023), algorithm 1; Bai et al., ConsistencyTTA (2024), section 3; the walk after Liu et al.,
AudioLCM (2024).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from soundleap.diffusion.denoisers import ConsistencyFunction, Denoise, NetworkDenoiser
from soundleap.diffusion.schedules import NoiseSchedule
from soundleap.diffusion.solvers import solve, walk_path
from soundleap.diffusion.times import per_sample
from soundleap.errors import InputError
from soundleap.training.objectives.axes import DistillationAxes
from soundleap.training.objectives.terms import (
    Conditions,
    Network,
    Query,
    Recorder,
    guided,
    item_distance,
    noisy,
    snr_weight,
)


@dataclass(frozen=True)
class ConsistencyDraws:
    """What chance decides in one step.

    Attributes:
        interval: ``[B]`` integers n: t is the n-th grid point above t = 0, the lowest being 0.
        w: ``[B]`` guidance scales in the classifier-free convention (1 = none). Networks get them
            as they are; float64 keeps LCM's form, one less, exact.
        eps: noise, shaped like x_0.
    """

    interval: Tensor
    w: Tensor
    eps: Tensor


@dataclass(frozen=True)
class ConsistencyTerms:
    """The loss and everything on the way to it.

    Attributes:
        loss: ``[B]``, distance · weight, with the student's gradient.
        distance: ``[B]`` before weighting.
        weight: ``[B]``.
        t: ``[B]`` float64, where the interval starts.
        s: ``[B]`` float64, where it ends.
        x_t: ``[B, ...]`` the noisy sample (VP coordinates, as all networks see it).
        x_s: ``[B, ...]`` where the teacher's solver takes it.
        target: ``[B, ...]`` f_target(x_s, s), or the true x_0 by the bottom rule.
        ours: ``[B, ...]`` f_online(x_t, t).
        teacher_queries: in order, each with both halves ``[2B, ...]``, the negative prompt's first
            (``[B, ...]`` where the guidance is fixed at 1).
        target_query: the target network's.
        student_query: the student's, detached.
    """

    loss: Tensor
    distance: Tensor
    weight: Tensor
    t: Tensor
    s: Tensor
    x_t: Tensor
    x_s: Tensor
    target: Tensor
    ours: Tensor
    teacher_queries: list[Query]
    target_query: Query
    student_query: Query


@dataclass(frozen=True, eq=False)
class ConsistencyObjective:
    """Distance between the student's answers at both ends of an interval of the teacher's flow.

    Attributes:
        axes: the settings.
        schedule: the teacher's noise schedule.
        teacher: any network; asked without w.
        student: a network, asked with w unless `guidance_embedding` is "none".
        target: its moving average.
    """

    axes: DistillationAxes
    schedule: NoiseSchedule
    teacher: Network
    student: Network
    target: Network

    @cached_property
    def grid(self) -> Tensor:
        """The coarse grid, rising, float64."""
        return self.axes.grid(self.schedule)

    @cached_property
    def starts(self) -> Tensor:
        """The grid points above t = 0, where intervals start."""
        return self.grid[self.grid > 0]

    def draw(self, x_0: Tensor, generator: torch.Generator) -> ConsistencyDraws:
        """Draw interval, guidance and noise, in this order, on the CPU."""
        count = len(x_0)
        interval = torch.randint(len(self.starts), (count,), generator=generator)
        w = self.axes.draw_guidance(count, generator)
        eps = torch.randn(x_0.shape, generator=generator)
        return ConsistencyDraws(interval, w, eps)

    def __call__(
        self, x_0: Tensor, positive: Conditions, negative: Conditions, draws: ConsistencyDraws
    ) -> ConsistencyTerms:
        """Compute the loss of a batch.

        Args:
            x_0: ``[B, ...]`` clean latents.
            positive: conditions of the prompts.
            negative: the same keywords for the empty prompt, of the same shapes or ``[1, ...]``.
            draws: what chance decided.

        Raises:
            InputError: for an interval that is not there, or conditions that do not fit.
        """
        t, s = self.interval_times(draws.interval)
        w = draws.w.to(x_0.device)
        x_t = noisy(
            self.schedule, x_0, draws.eps.to(x_0), t, float(self.starts[-1]), self.axes.top_rule
        )
        teacher, target, student = (
            Recorder(network) for network in (self.teacher, self.target, self.student)
        )
        with torch.no_grad():
            x_s = self._walk(teacher, x_t, t, s, w, positive, negative)
            aim = self.function(target, positive, w)(x_s, s)
            if self.axes.bottom_rule == "data":
                aim = torch.where(per_sample(s <= 0, x_0).bool(), x_0, aim)
        ours = self.function(student, positive, w)(x_t, t)
        distance = self.distance(ours, aim, positive)
        weight = self.weight(t).to(distance)
        return ConsistencyTerms(
            weight * distance, distance, weight, t, s, x_t, x_s, aim, ours,
            teacher.queries, target.queries[0], student.queries[0],
        )  # fmt: skip

    def sample(
        self, x_0: Tensor, positive: Conditions, negative: Conditions, generator: torch.Generator
    ) -> ConsistencyTerms:
        """Draw, and compute the loss of a batch."""
        return self(x_0, positive, negative, self.draw(x_0, generator))

    def interval_times(self, interval: Tensor) -> tuple[Tensor, Tensor]:
        """Return both ends t and s of intervals by number, ``[B]`` float64 each.

        Raises:
            InputError: for a number that is not there.
        """
        starts, index = self.starts, interval.cpu()
        if not bool(((index >= 0) & (index < len(starts))).all()):
            raise InputError(f"interval is {index.tolist()}; allowed: 0 to {len(starts) - 1}")
        below = index - self.axes.skip_points
        s = torch.where(below >= 0, starts[below.clamp_min(0)], torch.zeros(()).double())
        return starts[index], s

    def walk(
        self,
        x_t: Tensor,
        t: Tensor,
        s: Tensor,
        w: Tensor,
        positive: Conditions,
        negative: Conditions,
    ) -> Tensor:
        """Apply the teacher's guided solver `solver_steps` times from t to s."""
        return self._walk(self.teacher, x_t, t, s, w, positive, negative)

    def function(self, network: Network, conditions: Conditions, w: Tensor) -> ConsistencyFunction:
        """Return f for a student network."""
        denoiser = NetworkDenoiser(network, self.schedule, self.axes.student_gives)
        told = {"w": w} if self.axes.guidance_embedding == "input" else {}
        return ConsistencyFunction(
            denoiser.bind(**conditions, **told),
            self.axes.boundary,
            self.axes.sigma_data,
            self.axes.timestep_scaling,
        )

    def distance(self, ours: Tensor, aim: Tensor, conditions: Conditions) -> Tensor:
        """Return the distance of each item, unweighted, ``[B]``."""
        mask = conditions.get("latent_mask")
        return item_distance(ours, aim, self.axes.distance, self.axes.huber_c, mask)

    def weight(self, t: Tensor) -> Tensor:
        """Return the weight of items at times t, float64 like t."""
        return snr_weight(self.schedule, t, self.axes.weighting, self.axes.weighting_gamma)

    def flow(
        self, teacher: Network, positive: Conditions, negative: Conditions, w: Tensor
    ) -> Denoise:
        """Return the denoise function of the teacher's guided flow."""
        denoiser = NetworkDenoiser(teacher, self.schedule, self.axes.prediction)
        return guided(denoiser, positive, negative, w, unguided=self.axes.unguided)

    def _walk(
        self,
        teacher: Network,
        x_t: Tensor,
        t: Tensor,
        s: Tensor,
        w: Tensor,
        positive: Conditions,
        negative: Conditions,
    ) -> Tensor:
        denoise = self.flow(teacher, positive, negative, w)
        path = walk_path(t, s, self.axes.solver_steps)
        return solve(denoise, x_t, path, self.schedule, self.axes.solver)
