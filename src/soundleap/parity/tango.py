"""TANGO's network, training loss and sampling."""

from __future__ import annotations

import re
from functools import cached_property

import torch
from torch import Tensor

from soundleap.diffusion import CLEAN, Denoise, leading_timesteps, sample_ddpm, sample_ode
from soundleap.importers.keys_2d import unet2d_state
from soundleap.latents import LatentSampler
from soundleap.models.unet2d import UNet2D
from soundleap.training.objectives import DenoisingTerms, DiffusionObjective, TimedDraws

from .compare import Kind
from .conditions import halves, sampler_conditions
from .family import Family, output, take
from .items import ParityError, whole_number
from .networks import everything, published_gradient, unet2d
from .schedules import sampling_settings

PREFIX = "unet."
GUIDANCE_SCALE = 3.0
"""Where neither the output's name nor its description tells another."""


class Tango(Family):
    """``tango_unet_sampling``."""

    @cached_property
    def sampler(self) -> LatentSampler:
        """The network with its settings."""
        sampling = sampling_settings(self.item.constructor["scheduler"])
        network = unet2d(self.item.constructor["unet"], self.weights, sampling.prediction)
        return LatentSampler(network, sampling, None)

    @cached_property
    def weights(self) -> dict[str, Tensor]:
        """The network's weights by their published names."""
        return self.item.weights_of(PREFIX)

    @property
    def network(self) -> UNet2D:
        """The network."""
        network = self.sampler.network
        assert isinstance(network, UNet2D)
        return network

    @output("net/sample{number:int}", Kind.NETWORK)
    def sample(self, number: int) -> Tensor:
        """Query the network at the timesteps of a number."""
        return self.ask(number, self.item.input("net/mask").bool())

    @output("net/sample_nomask", Kind.NETWORK)
    def sample_nomask(self) -> Tensor:
        """Query it with all tokens kept."""
        words = re.search(r"\bt(\d+)", self.item.meaning("out/net/sample_nomask"))
        mask = everything(self.item.input("net/context"))
        return self.ask(int(words[1]) if words else 0, mask)

    @torch.no_grad()
    def ask(self, number: int, mask: Tensor) -> Tensor:
        """Query the network."""
        x_t = self.item.input("net/sample")
        t = self.item.input(f"net/t{number}").expand(len(x_t))
        return self.network(x_t, t, text_embeds=self.item.input("net/context"), text_mask=mask)

    def trained(self, gamma: float | None) -> DenoisingTerms:
        """Compute the training loss, weighted where gamma is given."""
        objective = DiffusionObjective(
            self.sampler.schedule,
            self.network,
            self.sampler.sampling.prediction,
            "none" if gamma is None else "min_snr_eps",
            gamma or 1.0,
        )
        conditions = {
            "text_embeds": self.item.input("train/prompt_embeds"),
            "text_mask": self.item.input("train/prompt_mask").bool(),
        }
        draws = TimedDraws(self.item.input("train/t"), self.item.input("train/noise"))
        return objective(self.item.input("train/z_0"), conditions, draws)

    @output("train/loss_none", Kind.LOSS)
    @output("train/loss_snr{gamma:number}", Kind.LOSS)
    def loss(self, gamma: float | None = None) -> Tensor:
        """Give the training loss."""
        with torch.no_grad():
            return self.trained(gamma).loss.mean()

    @output("train/grad_none/{name:rest}", Kind.GRADIENT)
    @output("train/grad_snr{gamma:number}/{name:rest}", Kind.GRADIENT)
    def gradient(self, name: str, gamma: float | None = None) -> Tensor:
        """Give its gradient by a weight's published name, with or without ``unet.``."""
        self.network.zero_grad()
        self.trained(gamma).loss.mean().backward()
        short = name.removeprefix(PREFIX)
        return published_gradient(short, self.weights, unet2d_state, self.network)

    def path(self, settings: dict[str, float]) -> tuple[str, Tensor]:
        """Give the sampler and its path by the settings in a name."""
        scheduler = self.item.constructor["scheduler"]
        solvers = [name for name in ("ddpm", "ddim") if name in settings]
        if len(solvers) != 1:
            raise ParityError(f"{', '.join(settings)} name no sampler; known: ddpm, ddim")
        ends_at_0 = solvers[0] == "ddim" and not scheduler.get("set_alpha_to_one", True)
        path = leading_timesteps(
            self.sampler.schedule,
            whole_number("the number of steps", settings[solvers[0]]),
            offset=whole_number("steps_offset", scheduler.get("steps_offset", 0)),
            end=0.0 if ends_at_0 else CLEAN,
        )
        return solvers[0], path

    @output("{settings:settings}/timesteps", Kind.EXACT)
    def timesteps(self, settings: dict[str, float]) -> Tensor:
        """Give the timesteps that are visited."""
        return self.path(settings)[1][:-1]

    @output("{settings:settings}/z", Kind.SAMPLE)
    def z(self, settings: dict[str, float]) -> Tensor:
        """Sample latents."""
        return self.follow(settings, self.denoise(settings))

    @output("{settings:settings}/second_input", Kind.SAMPLE)
    def second_input(self, settings: dict[str, float]) -> Tensor:
        """Give the latents that enter the second step."""
        entered: list[Tensor] = []
        denoise = self.denoise(settings)

        def watched(x_t: Tensor, t: Tensor) -> Tensor:
            entered.append(x_t)
            return denoise(x_t, t)

        self.follow(settings, watched)
        if len(entered) < 2:
            raise ParityError("there is no second step")
        return entered[1]

    def denoise(self, settings: dict[str, float]) -> Denoise:
        """Make the guided denoise function; at 1 and below only the prompt is asked."""
        solver, _ = self.path(settings)
        w = take(settings, solver, g=self._described_guidance(settings))["g"]
        noise = self.item.input("noise_initial")
        prompts, empty = halves(self.item, len(noise))
        conditions = sampler_conditions(prompts, empty, max(w, 1.0), noise.shape[2])
        return self.sampler.teacher_denoise(conditions)

    @torch.no_grad()
    def follow(self, settings: dict[str, float], denoise: Denoise) -> Tensor:
        """Sample with a denoise function."""
        solver, path = self.path(settings)
        start, schedule = self.item.input("noise_initial"), self.sampler.schedule
        if solver == "ddim":
            return sample_ode(denoise, start, path, schedule, solver="ddim")
        names = [f"noise_{number}" for number in range(1, len(path) - 1)]
        noises = [self.item.input(name) for name in names]
        return sample_ddpm(denoise, start, path, schedule, noises=noises)

    def _described_guidance(self, settings: dict[str, float]) -> float:
        """Read the guidance scale off the description of the outputs with these settings."""
        for name in self.item.outputs:
            words = re.search(r"guidance (\d+(?:\.\d+)?)", self.item.meaning(f"out/{name}"))
            if words and self.match(name).fields.get("settings") == settings:
                return float(words[1])
        return GUIDANCE_SCALE
