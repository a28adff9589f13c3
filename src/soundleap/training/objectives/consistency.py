"""Consistency distillation as a function of networks, settings and explicit draws.

    loss = weight(t) · d( f_online(x_t, t, w),  sg f_target( Φ^m(x_t; t -> s, w), s, w ) )

with t a point of a coarse grid, s the point `skip_points` below it, and Φ^m the teacher's guided
solver applied m times: m = 1 jumps the interval, m > 1 walks it.

x_t = alpha(t) x_0 + sigma(t) eps with x_0 of a recording. From captions alone (`data`) x_0 is the
target network's own answer to noise at the noisiest point T,

    x_0 = sg f_target(x_T, T, w),

so that the student is trained where its own generation in several steps takes it.

Source: Song et al., Consistency Models (2023), algorithm 2; Luo et al., Latent Consistency Models
(2023), algorithm 1; Bai et al., ConsistencyTTA (2024), section 3; the walk after Liu et al.,
AudioLCM (2024); own answers made noisy anew as in Yin et al., Improved Distribution Matching
Distillation (2024), section 4.5, with one step.
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
from soundleap.training.objectives.distances import Decode, clean_distance
from soundleap.training.objectives.terms import (
    Conditions,
    Network,
    Query,
    Recorder,
    guided,
    noisy,
    shape_mask,
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
        start: noise at the noisiest point, shaped like x_0; for captions alone.
    """

    interval: Tensor
    w: Tensor
    eps: Tensor
    start: Tensor | None = None

    def part(self, items: slice) -> ConsistencyDraws:
        """Give the draws of some items."""
        start = None if self.start is None else self.start[items]
        return ConsistencyDraws(self.interval[items], self.w[items], self.eps[items], start)


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
        decode: from latents to mels or waveforms, for distances that need it.
    """

    axes: DistillationAxes
    schedule: NoiseSchedule
    teacher: Network
    student: Network
    target: Network
    decode: Decode | None = None

    @cached_property
    def grid(self) -> Tensor:
        """The coarse grid, rising, float64."""
        return self.axes.grid(self.schedule)

    @cached_property
    def starts(self) -> Tensor:
        """The grid points above t = 0, where intervals start."""
        return self.grid[self.grid > 0]

    @cached_property
    def top(self) -> float:
        """The noisiest point."""
        return float(self.starts[-1])

    def draw(self, x_0: Tensor, generator: torch.Generator) -> ConsistencyDraws:
        """Draw interval, guidance, noise and the noise to start from, in this order, on the CPU."""
        count = len(x_0)
        interval = torch.randint(len(self.starts), (count,), generator=generator)
        w = self.axes.draw_guidance(count, generator)
        eps = torch.randn(x_0.shape, generator=generator)
        if self.axes.data == "latents":
            return ConsistencyDraws(interval, w, eps)
        return ConsistencyDraws(interval, w, eps, torch.randn(x_0.shape, generator=generator))

    def __call__(
        self, x_0: Tensor, positive: Conditions, negative: Conditions, draws: ConsistencyDraws
    ) -> ConsistencyTerms:
        """Compute the loss of a batch.

        Args:
            x_0: ``[B, ...]`` clean latents; from captions alone only their shape counts.
            positive: conditions of the prompts.
            negative: the same keywords for the empty prompt, of the same shapes or ``[1, ...]``.
            draws: what chance decided.

        Raises:
            InputError: for an interval that is not there, draws that lack something, or conditions
                that do not fit.
        """
        t, s = self.interval_times(draws.interval)
        w = draws.w.to(x_0.device)
        teacher, target, student = (
            Recorder(network) for network in (self.teacher, self.target, self.student)
        )
        if self.axes.data == "captions":
            x_0 = self.own_answer(x_0, positive, draws)
        x_t = noisy(self.schedule, x_0, draws.eps.to(x_0), t, self.top, self.axes.top_rule)
        with torch.no_grad():
            x_s = self.walk(x_t, t, s, w, positive, negative, teacher=teacher)
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

    @torch.no_grad()
    def own_answer(self, like: Tensor, positive: Conditions, draws: ConsistencyDraws) -> Tensor:
        """Return the target's answer to noise at the noisiest point: x_0 from captions alone.

        Raises:
            InputError: if the draws hold no noise to start from.
        """
        if draws.start is None:
            raise InputError("the draws hold no start; learning from captions alone needs noise")
        noise = draws.start.to(like)
        top = torch.full((len(like),), self.top, dtype=torch.float64)
        x_T = noisy(
            self.schedule, torch.zeros_like(noise), noise, top, self.top, self.axes.top_rule
        )
        answer = self.function(self.target, positive, draws.w.to(like.device))(x_T, top)
        mask = positive.get("latent_mask")
        return answer if mask is None else answer * shape_mask(mask, answer)

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
        *,
        teacher: Network | None = None,
        solver_steps: int | None = None,
    ) -> Tensor:
        """Apply the teacher's guided solver from t to s, all items at once.

        Args:
            x_t: ``[B, ...]``.
            t: ``[B]``, where each item starts.
            s: ``[B]``, where it ends.
            w: ``[B]`` guidance scales.
            positive: conditions of the prompts.
            negative: those of the empty prompt; both halves of a query share a batch.
            teacher: to ask instead of the objective's own, such as one that records.
            solver_steps: steps m; None: as the axes say.
        """
        asked = self.teacher if teacher is None else teacher
        steps = self.axes.solver_steps if solver_steps is None else solver_steps
        denoise = self.flow(asked, positive, negative, w)
        return solve(denoise, x_t, walk_path(t, s, steps), self.schedule, self.axes.solver)

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
        return clean_distance(
            ours,
            aim,
            self.axes.distance,
            huber_c=self.axes.huber_c,
            sound_share=self.axes.sound_share,
            decode=self.decode,
            mask=conditions.get("latent_mask"),
        )

    def weight(self, t: Tensor) -> Tensor:
        """Return the weight of items at times t, float64 like t."""
        return snr_weight(self.schedule, t, self.axes.weighting, self.axes.weighting_gamma)

    def flow(
        self, teacher: Network, positive: Conditions, negative: Conditions, w: Tensor
    ) -> Denoise:
        """Return the denoise function of the teacher's guided flow."""
        denoiser = NetworkDenoiser(teacher, self.schedule, self.axes.prediction)
        return guided(denoiser, positive, negative, w, unguided=self.axes.unguided)
