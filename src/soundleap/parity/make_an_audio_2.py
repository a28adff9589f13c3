"""Make-An-Audio 2: the teacher's sampling and training loss."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from soundleap.bundle_schema import Sampling, Schedule
from soundleap.diffusion import sample_ddpm, sample_ode, strided_timesteps
from soundleap.importers.keys_1d import concat_dit_state
from soundleap.latents import LatentSampler
from soundleap.models.concat_dit import ConcatDiT
from soundleap.training.objectives import DiffusionObjective, TimedDraws

from .audiolcm import TEACHER, transformer
from .compare import Kind
from .conditions import sampler_conditions
from .family import Family, output, take
from .items import ParityError, whole_number
from .networks import everything, published_gradient
from .schedules import ldm_schedule


class Teacher(Family):
    """``maa2_teacher``."""

    @cached_property
    def network(self) -> ConcatDiT:
        """The network, without a guidance input."""
        return transformer(self.item, TEACHER, guided=False)

    @cached_property
    def sampler(self) -> LatentSampler:
        """The network with its settings."""
        values = self.item.owner.constructor
        ldm_schedule(values)
        schedule = Schedule(
            beta_start=values["linear_start"],
            beta_end=values["linear_end"],
            num_train_steps=values["timesteps"],
        )
        return LatentSampler(self.network, Sampling(schedule=schedule, prediction="eps"), None)

    def path(self, settings: dict[str, float]) -> Tensor:
        """Give the path by the settings in a name."""
        steps = whole_number("steps", take(settings, "steps", "g", eta=0.0)["steps"])
        return strided_timesteps(self.sampler.schedule, steps)

    @output("{settings:settings}/timesteps", Kind.EXACT)
    def timesteps(self, settings: dict[str, float]) -> Tensor:
        """Give the timesteps that are visited."""
        return self.path(settings)[:-1]

    @output("{settings:settings}/z", Kind.SAMPLE)
    @torch.no_grad()
    def z(self, settings: dict[str, float]) -> Tensor:
        """Sample latents by DDIM, with fresh noise in every step where eta is above 0."""
        values = take(settings, "steps", "g", eta=0.0)
        x_T = self.item.input("x_T")
        prompts, empty = (
            {"text_embeds": states, "text_mask": everything(states)}
            for states in (self.item.input("cond"), self.item.input("uncond"))
        )
        conditions = sampler_conditions(prompts, empty, values["g"], x_T.shape[2])
        denoise = self.sampler.teacher_denoise(conditions)
        path, schedule = self.path(settings), self.sampler.schedule
        if not values["eta"]:
            return sample_ode(denoise, x_T, path, schedule, solver="ddim")
        noises = list(self.item.input("noises"))
        return sample_ddpm(denoise, x_T, path, schedule, eta=values["eta"], noises=noises)

    @cached_property
    def loss(self) -> Tensor:
        """The training loss, with gradients in the network."""
        states = self.item.input("cond")
        objective = DiffusionObjective(self.sampler.schedule, self.network, "eps")
        draws = TimedDraws(self.item.input("train/t"), self.item.input("train/noise"))
        conditions = {"text_embeds": states, "text_mask": everything(states)}
        self.network.zero_grad()
        loss = objective(self.item.input("train/x_start"), conditions, draws).loss.mean()
        loss.backward()
        return loss.detach()

    @output("train/loss", Kind.LOSS)
    def train_loss(self) -> Tensor:
        """Give that loss."""
        return self.loss

    @output("train/grad/{name:rest}", Kind.GRADIENT)
    def gradient(self, name: str) -> Tensor:
        """Give its gradient by a weight's published name."""
        if not name.startswith(TEACHER):
            raise ParityError(f"only {TEACHER}… has gradients")
        _ = self.loss
        published = self.item.weights_of(TEACHER)
        return published_gradient(
            name.removeprefix(TEACHER), published, concat_dit_state, self.network
        )
