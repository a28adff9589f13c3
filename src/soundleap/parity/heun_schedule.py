"""ConsistencyTTA's Heun schedule: its grids, and one step of its solver."""

from __future__ import annotations

import re
from functools import cached_property

import torch
from torch import Tensor

from soundleap.diffusion import (
    NetworkDenoiser,
    NoiseSchedule,
    Prediction,
    coarse_grid,
    ddim_step,
    heun_step,
    per_sample,
)

from .compare import Kind
from .family import Family, output, take
from .items import ParityError
from .schedules import stock_prediction, stock_schedule


class HeunSchedule(Family):
    """``ctta_heun_schedule``: lists of timesteps and noise levels, and a step between two of them.

    The original counts in variance-exploding coordinates, x_0 + sigma_ve * eps; ours, alpha times
    that, are its scaled ones.
    """

    @cached_property
    def schedule(self) -> NoiseSchedule:
        """The noise schedule."""
        return stock_schedule(self.item.constructor)

    @cached_property
    def prediction(self) -> Prediction:
        """What the network of the step gives."""
        return stock_prediction(self.item.constructor)

    def grid(self, spacing: str, points: int) -> Tensor:
        """Give the falling grid; of one point the original takes the last, t = 0."""
        if spacing not in ("linspace", "karras"):
            raise ParityError(f"unknown spacing {spacing!r}; known: linspace, karras")
        if points == 1:
            return torch.zeros(1, dtype=torch.float64)
        return coarse_grid(self.schedule, points, spacing).flip(0)

    @output("{spacing:linspace}/{settings:settings}/timesteps", Kind.TIMES)
    @output("{spacing:word}/{settings:settings}/timesteps", Kind.LOOKUP)
    def timesteps(self, spacing: str, settings: dict[str, float]) -> Tensor:
        """Give the list of queries: the first time once, the others twice."""
        grid = self.grid(spacing, int(take(settings, "n")["n"]))
        return torch.cat([grid[:1], grid[1:].repeat_interleave(2)])

    @output("{spacing:word}/{settings:settings}/sigmas", Kind.LEVELS)
    def sigmas(self, spacing: str, settings: dict[str, float]) -> Tensor:
        """Give their levels, and the clean end."""
        times = self.timesteps(spacing, settings)
        return self.schedule.sigma_ve(torch.cat([times, times.new_tensor([-1.0])]))

    @output("{spacing:word}/{settings:settings}/init_noise_sigma", Kind.LEVELS)
    def init_noise_sigma(self, spacing: str, settings: dict[str, float]) -> Tensor:
        """Give the highest level."""
        return self.sigmas(spacing, settings).max()

    @output("alphas_cumprod", Kind.TABLE)
    def alphas_cumprod(self) -> Tensor:
        """Give the schedule's table."""
        return self.schedule.alphas_cumprod

    @cached_property
    def ends(self) -> tuple[Tensor, Tensor]:
        """The step's two times, [B] each."""
        words = re.search(r"\bn(\d+)", self.item.meaning("in/step/index"))
        listed = [re.match(r"linspace/n(\d+)/", name) for name in self.item.outputs]
        points = int(words[1]) if words else max((int(n[1]) for n in listed if n), default=18)
        grid = torch.cat([self.grid("linspace", points), torch.tensor([-1.0]).double()])
        first = (self.item.input("step/index") + 1) // 2  # all but the first are listed twice
        if not bool(((first >= 0) & (first < points)).all()):
            raise ParityError(f"in/step/index leaves the grid of {points} points")
        return grid[first], grid[first + 1]

    @cached_property
    def x_t(self) -> Tensor:
        """The step's start, scaled."""
        x = self.item.input("step/x")
        return per_sample(self.schedule.alpha(self.ends[0]), x) * x

    def unscaled(self, x_s: Tensor, t: Tensor) -> Tensor:
        """Give a sample at time t in the original's coordinates."""
        return x_s / per_sample(self.schedule.alpha(t), x_s)

    def answers(self) -> NetworkDenoiser:
        """Make a network that gives the stored outputs in turn."""
        stored = iter([self.item.input("step/v_first"), self.item.input("step/v_second")])
        return NetworkDenoiser(lambda x_t, t: next(stored), self.schedule, self.prediction)

    @output("step/scaled", Kind.STEP)
    def scaled(self) -> Tensor:
        """Give the first network input."""
        return self.x_t

    @output("step/scaled_after_first", Kind.STEP)
    def scaled_after_first(self) -> Tensor:
        """Give the second network input."""
        return ddim_step(self.answers(), self.x_t, *self.ends, self.schedule)

    @output("step/after_first_order", Kind.STEP)
    def after_first_order(self) -> Tensor:
        """Give it in the original's coordinates."""
        return self.unscaled(self.scaled_after_first(), self.ends[1])

    @output("step/scaled_after_heun", Kind.STEP)
    def scaled_after_heun(self) -> Tensor:
        """Give the step's end, scaled."""
        return heun_step(self.answers(), self.x_t, *self.ends, self.schedule)

    @output("step/after_heun", Kind.STEP)
    def after_heun(self) -> Tensor:
        """Give it in the original's coordinates."""
        return self.unscaled(self.scaled_after_heun(), self.ends[1])

    @output("step/add_noise", Kind.STEP)
    def add_noise(self) -> Tensor:
        """Give the start with noise added, in the original's coordinates."""
        t = self.ends[0]
        noise = self.item.input("step/v_first")
        return self.unscaled(self.schedule.add_noise(self.item.input("step/x"), noise, t), t)
