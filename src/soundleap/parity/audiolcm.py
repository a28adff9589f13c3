"""AudioLCM's distillation and sampling."""

from __future__ import annotations

import re
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from soundleap.bundle_schema import Sampling, Schedule
from soundleap.diffusion import (
    ConsistencyFunction,
    NoiseSchedule,
    lcm_timesteps,
    lcm_to_cfg,
    sample_consistency,
)
from soundleap.importers.keys_1d import concat_dit_state
from soundleap.latents import LatentSampler
from soundleap.models.concat_dit import ConcatDiT
from soundleap.training.ema import make_ema, update_ema
from soundleap.training.objectives import (
    ConsistencyDraws,
    ConsistencyObjective,
    ConsistencyTerms,
    DistillationAxes,
)

from .compare import Kind
from .conditions import sampler_conditions
from .family import Family, output, take
from .items import Item, ParityError, supported, whole_number
from .networks import concat_dit, everything, published_gradient, published_value
from .schedules import ldm_schedule

TEACHER, STUDENT, TARGET = (
    f"{name}.diffusion_model." for name in ("model", "unet", "target_unet")
)  # as in the checkpoint
TARGET_DECAY = 0.95


def transformer(item: Item, prefix: str, *, guided: bool) -> ConcatDiT:
    """Build the network under a prefix of an item's weights; the weights' own item tells the sizes.

    Raises:
        ParityError: for another class, or weights that do not fit.
    """
    config = item.owner.constructor["unet_config"]
    supported(config, target="ConcatDiT2MLP")
    return concat_dit(config["params"], item.weights_of(prefix), guided=guided)


class Distillation(Family):
    """``audiolcm_distill``: the whole loss, its parts, gradients, and the target's update."""

    def __init__(self, item: Item) -> None:
        """Take an item."""
        super().__init__(item)
        self._terms: dict[int, ConsistencyTerms] = {}
        self._differentiated = -1

    @cached_property
    def schedule(self) -> NoiseSchedule:
        """The noise schedule."""
        return ldm_schedule(self.item.constructor)

    @cached_property
    def student(self) -> ConcatDiT:
        """The student."""
        return transformer(self.item, STUDENT, guided=True)

    @cached_property
    def target(self) -> ConcatDiT:
        """The student's moving average."""
        return transformer(self.item, TARGET, guided=True)

    @cached_property
    def axes(self) -> DistillationAxes:
        """The settings."""
        values = self.item.constructor
        words = re.search(r"c\s*=\s*([\d.e-]+)", str(values.get("loss", "")))
        if words is None or "huber" not in str(values["loss"]).lower():
            raise ParityError(f"loss is {values.get('loss')!r}; supported: pseudo-Huber, c=…")
        points = whole_number("num_ddim_timesteps", values["num_ddim_timesteps"])
        grid: dict[str, Any] = {"grid_points": points}
        if self.schedule.num_train_steps % points:
            times = lcm_timesteps(self.schedule, points, points).flip(0)
            grid |= {"grid_spacing": "explicit", "grid_timesteps": tuple(times.tolist())}
        return DistillationAxes(
            prediction="eps",
            **grid,
            skip_points=1,
            solver="ddim",
            solver_steps=1,
            guidance_range=(values["w_min"], values["w_max"]),
            guidance_form="lcm",
            boundary="lcm",
            bottom_rule="teacher",
            top_rule="data",
            distance="huber",
            huber_c=float(words[1]),
        )

    @cached_property
    def objective(self) -> ConsistencyObjective:
        """The loss."""
        teacher = transformer(self.item, TEACHER, guided=False)
        return ConsistencyObjective(self.axes, self.schedule, teacher, self.student, self.target)

    def terms(self, case: int) -> ConsistencyTerms:
        """Compute a case's loss and parts."""
        if case not in self._terms:
            low, high = self.item.constructor["w_min"], self.item.constructor["w_max"]
            w = low + (high - low) * self.item.input(f"case{case}/u")
            draws = ConsistencyDraws(
                self.item.input(f"case{case}/index"),
                lcm_to_cfg(w.double()),  # exact, so that one less is again what was drawn
                self.item.input(f"case{case}/noise"),
            )
            prompts, empty = (
                {"text_embeds": states, "text_mask": everything(states)}
                for states in (self.item.input("cond"), self.item.input("uncond"))
            )
            self._terms[case] = self.objective(self.item.input("x_start"), prompts, empty, draws)
        return self._terms[case]

    @output("case{case:int}/loss", Kind.LOSS)
    def loss(self, case: int) -> Tensor:
        """Give the loss."""
        return self.terms(case).loss.mean()

    @output("case{case:int}/x_noisy", Kind.STEP)
    def x_noisy(self, case: int) -> Tensor:
        """Give the noisy latents."""
        return self.terms(case).x_t

    @output("case{case:int}/x_prev", Kind.NETWORK)
    def x_prev(self, case: int) -> Tensor:
        """Give where the teacher's solver takes them."""
        return self.terms(case).x_s

    @output("case{case:int}/student_eps", Kind.NETWORK)
    def student_eps(self, case: int) -> Tensor:
        """Give the student's output."""
        return self.terms(case).student_query.output

    @output("case{case:int}/target_eps", Kind.NETWORK)
    def target_eps(self, case: int) -> Tensor:
        """Give the target network's output."""
        return self.terms(case).target_query.output

    @output("case{case:int}/teacher_eps_uncond", Kind.NETWORK)
    def teacher_eps_uncond(self, case: int) -> Tensor:
        """Give the teacher's output for the empty prompt."""
        return self.terms(case).teacher_queries[0].output.chunk(2)[0]

    @output("case{case:int}/teacher_eps_cond", Kind.NETWORK)
    def teacher_eps_cond(self, case: int) -> Tensor:
        """Give the teacher's output for the prompt."""
        return self.terms(case).teacher_queries[0].output.chunk(2)[1]

    @output("case{case:int}/grad/{name:rest}", Kind.GRADIENT)
    def gradient(self, case: int, name: str) -> Tensor:
        """Give the loss's gradient by a weight's published name."""
        if not name.startswith(STUDENT):
            raise ParityError(f"only {STUDENT}… has gradients")
        if self._differentiated != case:
            self.student.zero_grad()
            self.loss(case).backward(retain_graph=True)
            self._differentiated = case
        published = self.item.weights_of(STUDENT)
        return published_gradient(
            name.removeprefix(STUDENT), published, concat_dit_state, self.student
        )

    @output("ema/{name:rest}", Kind.STEP)
    def ema(self, name: str) -> Tensor:
        """Give a weight of the target after one update."""
        if not name.startswith(TARGET):
            raise ParityError(f"only {TARGET}… is a moving average")
        average = make_ema(self.target)
        decay = self.item.constructor.get("target_ema_decay", TARGET_DECAY)
        update_ema(average, self.student, decay)
        published = self.item.weights_of(TARGET)
        return published_value(name.removeprefix(TARGET), published, concat_dit_state, average)


class Sampler(Family):
    """``audiolcm_lcm_sampler``: a few queries of the student."""

    @cached_property
    def sampler(self) -> LatentSampler:
        """The student with its settings."""
        values = self.item.owner.constructor
        ldm_schedule(values)
        sampling = Sampling(
            schedule=Schedule(
                beta_start=values["linear_start"],
                beta_end=values["linear_end"],
                num_train_steps=values["timesteps"],
            ),
            prediction="eps",
            student_prediction="eps",
            boundary="lcm",
        )
        return LatentSampler(transformer(self.item, STUDENT, guided=True), sampling, None)

    @output("{settings:settings}/timesteps", Kind.EXACT)
    def timesteps(self, settings: dict[str, float]) -> Tensor:
        """Give the list of queries."""
        steps = whole_number("steps", take(settings, "steps", "g")["steps"])
        original = self.item.constructor.get("original_inference_steps")
        original = whole_number("original_inference_steps", original)
        return lcm_timesteps(self.sampler.schedule, original, steps)

    @output("{settings:settings}/denoised", Kind.SAMPLE)
    def denoised(self, settings: dict[str, float]) -> Tensor:
        """Sample latents."""
        states, x_T = self.item.input("cond"), self.item.input("x_T")
        prompts = {"text_embeds": states, "text_mask": everything(states)}
        w = take(settings, "steps", "g")["g"]
        conditions = sampler_conditions(prompts, None, w, x_T.shape[2])
        times = self.timesteps(settings)
        noises = self.item.input("noises")[: len(times) - 1] if len(times) > 1 else []
        function = ConsistencyFunction(
            self.sampler.student_denoise(conditions), self.sampler.sampling.boundary
        )
        with torch.no_grad():
            return sample_consistency(
                function, x_T, times, self.sampler.schedule, noises=list(noises)
            )
