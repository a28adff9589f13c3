"""AudioLCM's schedule, solver step, scalings, embedding of the guidance and lists of timesteps."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from soundleap.diffusion import (
    NoiseSchedule,
    boundary_scalings,
    ddim_update,
    guidance_embedding,
    lcm_timesteps,
    uniform_grid,
)

from .compare import Kind
from .family import Family, output, take
from .items import whole_number
from .schedules import ldm_schedule


class Solver(Family):
    """``audiolcm_solver``: everything around the network, network outputs being inputs."""

    @cached_property
    def schedule(self) -> NoiseSchedule:
        """The noise schedule."""
        return ldm_schedule(self.item.constructor)

    @cached_property
    def all_times(self) -> Tensor:
        """Every timestep."""
        return torch.arange(self.schedule.num_train_steps, dtype=torch.float64)

    @cached_property
    def grid(self) -> Tensor:
        """The coarse grid, rising; where its points do not divide the schedule, in whole steps."""
        points = whole_number("num_ddim_timesteps", self.item.constructor.get("num_ddim_timesteps"))
        if points and self.schedule.num_train_steps % points:
            return lcm_timesteps(self.schedule, points, points).flip(0)
        return uniform_grid(self.schedule, points)

    @cached_property
    def ends(self) -> Tensor:
        """Where the interval that starts at each grid point ends."""
        return torch.cat([self.grid.new_zeros(1), self.grid[:-1]])

    @output("betas", Kind.TABLE)
    def betas(self) -> Tensor:
        """Give the betas that the schedule's table implies."""
        table = self.schedule.alphas_cumprod
        return 1 - table / torch.cat([table.new_ones(1), table[:-1]])

    @output("alphas_cumprod", Kind.TABLE)
    def alphas_cumprod(self) -> Tensor:
        """Give the schedule's table."""
        return self.schedule.alphas_cumprod

    @output("sqrt_alphas_cumprod", Kind.TABLE)
    def sqrt_alphas_cumprod(self) -> Tensor:
        """Give alpha."""
        return self.schedule.alpha(self.all_times)

    @output("sqrt_one_minus_alphas_cumprod", Kind.TABLE)
    def sqrt_one_minus_alphas_cumprod(self) -> Tensor:
        """Give sigma."""
        return self.schedule.sigma(self.all_times)

    @output("sqrt_recip_alphas_cumprod", Kind.TABLE)
    def sqrt_recip_alphas_cumprod(self) -> Tensor:
        """Give 1 / alpha."""
        return 1 / self.schedule.alpha(self.all_times)

    @output("sqrt_recipm1_alphas_cumprod", Kind.TABLE)
    def sqrt_recipm1_alphas_cumprod(self) -> Tensor:
        """Give sigma / alpha."""
        return self.schedule.sigma_ve(self.all_times)

    @output("ddim_timesteps", Kind.EXACT)
    def ddim_timesteps(self) -> Tensor:
        """Give the coarse grid."""
        return self.grid

    @output("ddim_alpha_cumprods", Kind.TABLE)
    def ddim_alpha_cumprods(self) -> Tensor:
        """Give alpha^2 where intervals start."""
        return self.schedule.alpha(self.grid) ** 2

    @output("ddim_alpha_cumprods_prev", Kind.TABLE)
    def ddim_alpha_cumprods_prev(self) -> Tensor:
        """Give alpha^2 where they end."""
        return self.schedule.alpha(self.ends) ** 2

    @output("x_prev", Kind.STEP)
    def x_prev(self) -> Tensor:
        """Take the solver's step from every stored interval's start to its end."""
        x_0, index = self.item.input("pred_x0"), self.item.input("index")
        t, s = self.grid[index], self.ends[index]
        x_t = self.schedule.add_noise(x_0, self.item.input("pred_noise"), t)
        return ddim_update(x_t, x_0, t, s, self.schedule)

    @output("(?:sampler_)?c_skip", Kind.TABLE)
    def c_skip(self) -> Tensor:
        """Give the share of x_t in the consistency function, in training and in the sampler."""
        return boundary_scalings(self.item.input("t"))[0]

    @output("(?:sampler_)?c_out", Kind.TABLE)
    def c_out(self) -> Tensor:
        """Give the share of x_0."""
        return boundary_scalings(self.item.input("t"))[1]

    @output("guidance_embedding_{dim:int}", Kind.EMBEDDING)
    def guidance_embedding(self, dim: int) -> Tensor:
        """Embed LCM's guidance scales."""
        return guidance_embedding(self.item.input("w"), dim)

    @output("lcm_timesteps/{settings:settings}", Kind.EXACT)
    def lcm_timesteps(self, settings: dict[str, float]) -> Tensor:
        """Give the sampler's list of queries."""
        sizes = take(settings, "orig", "n")
        return lcm_timesteps(self.schedule, int(sizes["orig"]), int(sizes["n"]))
