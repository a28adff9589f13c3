"""Text states to latents: few queries of the student, or the teacher's probability flow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from soundleap.bundle_schema import Sampling
from soundleap.diffusion import (
    ConsistencyFunction,
    Denoise,
    NetworkDenoiser,
    NoiseSchedule,
    batched_guidance,
    consistency_timesteps,
    per_sample,
    randn_per_sample,
    sample_consistency,
    sample_ode,
    sampling_timesteps,
)
from soundleap.diffusion.sampling import SampleCallback

if TYPE_CHECKING:
    from soundleap.models.dit import DiT


@dataclass(frozen=True)
class Conditions:
    """What a batch of latents is made from.

    Attributes:
        embeds: ``[3, B, N, D]`` text states of the prompts, the negative prompts (the empty text
            where there is none) and the empty text.
        mask: ``[3, B, N]`` True at tokens.
        w: ``[B]`` guidance scales, float32.
        negative: whether any sample has a negative prompt.
        lengths: latent vectors of each sample.
    """

    embeds: Tensor
    mask: Tensor
    w: Tensor
    negative: bool
    lengths: Sequence[int]

    @property
    def latent_mask(self) -> Tensor | None:
        """``[B, L]`` True where there is sound; None where all samples are equally long."""
        if len(set(self.lengths)) == 1:
            return None
        sizes = torch.tensor(self.lengths, device=self.w.device)
        return torch.arange(max(self.lengths), device=self.w.device) < sizes[:, None]

    def of(self, row: int) -> dict[str, Any]:
        """Give the network's keywords: prompts (0), negative prompts (1), or the empty text (2)."""
        return {
            "text_embeds": self.embeds[row],
            "text_mask": self.mask[row],
            "latent_mask": self.latent_mask,
        }


class LatentSampler:
    """Samples latents from one network.

    Args:
        network: student or teacher.
        sampling: the model's settings.
        autocast: type that the network's matrix products run in; None for float32.
    """

    def __init__(self, network: DiT, sampling: Sampling, autocast: torch.dtype | None) -> None:
        """Wrap a network; nothing is copied."""
        self.network = network
        self.sampling = sampling
        self.autocast = autocast
        self.schedule = NoiseSchedule.scaled_linear(**dict(sampling.schedule))

    def student(
        self,
        conditions: Conditions,
        steps: int,
        generators: Sequence[torch.Generator],
        callback: SampleCallback | None = None,
    ) -> Tensor:
        """Ask a consistency function `steps` times; returns ``[B, C, L]``, zero where padded."""
        settings = self.sampling
        function = ConsistencyFunction(
            self.student_denoise(conditions),
            settings.boundary,
            settings.sigma_data,
            settings.timestep_scaling,
        )
        grid = torch.tensor(settings.grid, dtype=torch.float64)
        return sample_consistency(
            function,
            self._noise(conditions, generators),
            consistency_timesteps(grid, steps),
            self.schedule,
            generators,
            lengths=conditions.lengths,
            callback_on_step_end=callback,
        )

    def teacher(
        self,
        conditions: Conditions,
        steps: int,
        generators: Sequence[torch.Generator],
        callback: SampleCallback | None = None,
    ) -> Tensor:
        """Follow the guided probability flow in `steps` DPM-Solver++(2M) steps; ``[B, C, L]``."""
        return sample_ode(
            self.teacher_denoise(conditions),
            self._noise(conditions, generators),
            sampling_timesteps(self.schedule, steps),
            self.schedule,
            callback_on_step_end=callback,
        )

    def student_denoise(self, conditions: Conditions) -> Denoise:
        """Make the student's denoise function.

        A guided student knows ``x_0(w, c) = x_0(∅) + w · (x_0(c) - x_0(∅))`` in one query. With a
        negative prompt n in the place of ∅ this is
        ``x_0(w, c) - (w - 1) · (x_0(1, n) - x_0(1, ∅))``: three queries in one batch, and an empty
        negative prompt changes nothing.

        Source: Ho and Salimans 2022 (classifier-free guidance), rearranged.
        """
        denoiser = self._denoiser(self.sampling.student_prediction)
        w = conditions.w
        if not conditions.negative:
            return denoiser.bind(**conditions.of(0), w=w)
        ones = torch.ones_like(w)
        rows = [conditions.of(row) for row in range(3)]
        joined = {name: _join([row[name] for row in rows]) for name in rows[0]}
        bound = denoiser.bind(**joined, w=torch.cat([w, ones, ones]))

        def denoise(x_t: Tensor, t: Tensor) -> Tensor:
            prompt, negative, empty = bound(torch.cat([x_t] * 3), torch.cat([t] * 3)).chunk(3)
            return prompt - per_sample(w - 1, prompt) * (negative - empty)

        return denoise

    def teacher_denoise(self, conditions: Conditions) -> Denoise:
        """Make the teacher's denoise function: classifier-free guidance in one batch."""
        denoiser = self._denoiser(self.sampling.prediction)
        if bool((conditions.w == 1).all()):
            return denoiser.bind(**conditions.of(0))
        return batched_guidance(denoiser, conditions.of(0), conditions.of(1), conditions.w)

    def _denoiser(self, prediction: Any) -> NetworkDenoiser:
        return NetworkDenoiser(self._call, self.schedule, prediction)

    def _call(self, x_t: Tensor, t: Tensor, **conditions: Any) -> Tensor:
        if self.autocast is None:
            return self.network(x_t, t, **conditions)
        with torch.autocast(x_t.device.type, dtype=self.autocast):
            return self.network(x_t, t, **conditions)

    def _noise(self, conditions: Conditions, generators: Sequence[torch.Generator]) -> Tensor:
        shape = (self.network.config.channels, max(conditions.lengths))
        return randn_per_sample(
            shape, generators, lengths=conditions.lengths, device=conditions.w.device
        )


def _join(values: list[Tensor | None]) -> Tensor | None:
    tensors = [value for value in values if value is not None]
    return torch.cat(tensors) if tensors else None
