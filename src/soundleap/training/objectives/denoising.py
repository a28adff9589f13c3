"""Objectives at single timesteps: denoising for teachers, and guided distillation."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from soundleap.diffusion.denoisers import (
    NetworkDenoiser,
    Prediction,
    convert_output,
    training_target,
)
from soundleap.diffusion.schedules import NoiseSchedule
from soundleap.errors import InputError
from soundleap.training.objectives.axes import DistillationAxes
from soundleap.training.objectives.distances import clean_distance
from soundleap.training.objectives.terms import (
    Conditions,
    Network,
    Query,
    Recorder,
    Weighting,
    guided,
    item_distance,
    noisy,
    snr_weight,
)


@dataclass(frozen=True)
class TimedDraws:
    """What chance decides in one step.

    Attributes:
        t: ``[B]`` timesteps.
        eps: noise, shaped like x_0.
        w: ``[B]`` guidance scales in the classifier-free convention; None where there is none.
    """

    t: Tensor
    eps: Tensor
    w: Tensor | None = None

    def part(self, items: slice) -> TimedDraws:
        """Return those of some items."""
        w = None if self.w is None else self.w[items]
        return TimedDraws(self.t[items], self.eps[items], w)


@dataclass(frozen=True)
class DenoisingTerms:
    """The loss and everything on the way to it.

    Attributes:
        loss: ``[B]``, distance · weight, with the network's gradient.
        distance: ``[B]`` before weighting.
        weight: ``[B]``.
        t: ``[B]`` float64.
        x_t: ``[B, ...]`` the noisy sample.
        target: ``[B, ...]`` what the network had to give.
        ours: ``[B, ...]`` what it gave.
        teacher_queries: of guided distillation: one, both halves ``[2B, ...]``, the negative
            prompt's first (``[B, ...]`` where the guidance is fixed at 1).
    """

    loss: Tensor
    distance: Tensor
    weight: Tensor
    t: Tensor
    x_t: Tensor
    target: Tensor
    ours: Tensor
    teacher_queries: list[Query]


@dataclass(frozen=True, eq=False)
class DiffusionObjective:
    """The denoising loss of diffusion teachers: mean squared error of eps, v or x_0.

    Attributes:
        schedule: the noise schedule.
        network: any network; asked without w.
        prediction: what it gives.
        weighting: "none", or by signal-to-noise ratio (TANGO: "min_snr_eps", for v as well).
        weighting_gamma: where that ratio is clipped.

    Source: Ho et al., DDPM (2020), equation 14; Salimans and Ho (2022) for v.
    """

    schedule: NoiseSchedule
    network: Network
    prediction: Prediction = "v"
    weighting: Weighting = "none"
    weighting_gamma: float = 5.0

    def draw(self, x_0: Tensor, generator: torch.Generator) -> TimedDraws:
        """Draw timesteps, spread evenly over a batch, and noise, on the CPU."""
        count = len(x_0)
        shift = torch.rand((), generator=generator, dtype=torch.float64)
        spread = (torch.randperm(count, generator=generator) + shift) / count
        t = (spread * self.schedule.num_train_steps).floor()
        return TimedDraws(t, torch.randn(x_0.shape, generator=generator))

    def sample(
        self, x_0: Tensor, conditions: Conditions, generator: torch.Generator
    ) -> DenoisingTerms:
        """Draw, and compute the loss of a batch."""
        return self(x_0, conditions, self.draw(x_0, generator))

    def __call__(self, x_0: Tensor, conditions: Conditions, draws: TimedDraws) -> DenoisingTerms:
        """Compute the loss of a batch.

        Args:
            x_0: ``[B, ...]`` clean latents.
            conditions: of the prompts.
            draws: what chance decided.
        """
        t, eps = draws.t.cpu().double(), draws.eps.to(x_0)
        alpha, sigma = self.schedule.alpha(t), self.schedule.sigma(t)
        x_t = self.schedule.add_noise(x_0, eps, t)
        target = training_target(x_0, eps, alpha, sigma, self.prediction)
        output = self.network(x_t, t.float().to(x_0.device), **conditions)
        distance = item_distance(output, target, mask=conditions.get("latent_mask"))
        weight = snr_weight(self.schedule, t, self.weighting, self.weighting_gamma).to(distance)
        return DenoisingTerms(weight * distance, distance, weight, t, x_t, target, output, [])


@dataclass(frozen=True, eq=False)
class GuidedDiffusionObjective:
    """A student with guidance as an input learns the teacher's guided output, two queries in one.

    Attributes:
        axes: the settings; those of the coarse grid have no part in it.
        schedule: the teacher's noise schedule.
        teacher: any network; asked without w.
        student: a network, asked with w unless `guidance_embedding` is "none".

    Source: Meng et al., On Distillation of Guided Diffusion Models (2023), section 3.1; as the
    first stage of ConsistencyTTA, Bai et al. (2024), section 3.2.
    """

    axes: DistillationAxes
    schedule: NoiseSchedule
    teacher: Network
    student: Network

    def draw(self, x_0: Tensor, generator: torch.Generator) -> TimedDraws:
        """Draw timesteps, guidance and noise, in this order, on the CPU."""
        count = len(x_0)
        t = torch.randint(self.schedule.num_train_steps, (count,), generator=generator)
        w = self.axes.draw_guidance(count, generator)
        return TimedDraws(t, torch.randn(x_0.shape, generator=generator), w)

    def sample(
        self, x_0: Tensor, positive: Conditions, negative: Conditions, generator: torch.Generator
    ) -> DenoisingTerms:
        """Draw, and compute the loss of a batch."""
        return self(x_0, positive, negative, self.draw(x_0, generator))

    def __call__(
        self, x_0: Tensor, positive: Conditions, negative: Conditions, draws: TimedDraws
    ) -> DenoisingTerms:
        """Compute the loss of a batch.

        Args:
            x_0: ``[B, ...]`` clean latents.
            positive: conditions of the prompts.
            negative: the same keywords for the empty prompt, of the same shapes or ``[1, ...]``.
            draws: what chance decided, w included.

        Raises:
            InputError: if the draws hold no w, or the conditions do not fit.
        """
        axes, schedule = self.axes, self.schedule
        if draws.w is None:
            raise InputError("the draws hold no w; guided distillation needs one per item")
        w, t, eps = draws.w.to(x_0.device), draws.t.cpu().double(), draws.eps.to(x_0)
        x_t = noisy(schedule, x_0, eps, t, schedule.t_max, axes.top_rule)
        teacher = Recorder(self.teacher)
        with (
            torch.no_grad()
        ):  # guidance is the same for eps, v and x_0, so outputs stay as they are
            denoiser = NetworkDenoiser(teacher, schedule, "x0")
            answer = guided(denoiser, positive, negative, w, unguided=axes.unguided)(x_t, t)
            levels = schedule.alpha(t), schedule.sigma(t)
            target = convert_output(answer, x_t, *levels, axes.prediction, axes.student_gives)
        told = {"w": w} if axes.guidance_embedding == "input" else {}
        output = self.student(x_t, t.float().to(x_0.device), **positive, **told)
        mask = positive.get("latent_mask")
        distance = clean_distance(output, target, axes.distance, huber_c=axes.huber_c, mask=mask)
        weight = snr_weight(schedule, t, axes.weighting, axes.weighting_gamma).to(distance)
        return DenoisingTerms(
            weight * distance, distance, weight, t, x_t, target, output, teacher.queries
        )
