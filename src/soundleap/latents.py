"""Text states to latents: few queries of the student, or the teacher's probability flow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from soundleap.bundle_schema import Sampling, TeacherSolver
from soundleap.diffusion import (
    ConsistencyFunction,
    Denoise,
    NetworkDenoiser,
    NoiseSchedule,
    batched_guidance,
    per_sample,
    randn_per_sample,
    sample_consistency,
    sample_ode,
)
from soundleap.diffusion.ancestral import sample_ddpm
from soundleap.diffusion.sampling import SampleCallback

if TYPE_CHECKING:
    from soundleap.models.seams import Network


@dataclass(frozen=True)
class Conditions:
    """What a batch of latents is made from.

    Attributes:
        embeds: ``[3, B, N, D]`` text states of the prompts, the negative prompts (the empty text
            where there is none) and the empty text; ``[1, B, N, D]`` where only prompts are asked.
        mask: ``[3, B, N]`` True at tokens.
        w: ``[B]`` guidance scales; float64 where there is one, since some networks' embeddings
            multiply them by a thousand.
        negative: whether any sample has a negative prompt.
        lengths: latent vectors of each sample.
        post: ``[B]`` guidance scales of the student's answers; None for none.
    """

    embeds: Tensor
    mask: Tensor
    w: Tensor
    negative: bool
    lengths: Sequence[int]
    post: Tensor | None = None

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
        latent_shape: shape of one sample's latents by their length; None for ``(C, L)``.
    """

    def __init__(
        self,
        network: Network,
        sampling: Sampling,
        autocast: torch.dtype | None,
        latent_shape: Callable[[int], tuple[int, ...]] | None = None,
    ) -> None:
        """Wrap a network; nothing is copied."""
        self.network = network
        self.sampling = sampling
        self.autocast = autocast
        self.latent_shape = latent_shape or (lambda length: (network.config.channels, length))
        self.schedule = NoiseSchedule.scaled_linear(**dict(sampling.schedule))

    def student(
        self,
        conditions: Conditions,
        timesteps: Tensor,
        generators: Sequence[torch.Generator],
        callback: SampleCallback | None = None,
    ) -> Tensor:
        """Ask a consistency function at falling timesteps; ``[B, C, L]``, zero where padded."""
        settings = self.sampling
        function = ConsistencyFunction(
            self.student_denoise(conditions),
            settings.boundary,
            settings.sigma_data,
            settings.timestep_scaling,
        )
        return sample_consistency(
            function,
            self._noise(conditions, generators),
            timesteps,
            self.schedule,
            generators,
            lengths=conditions.lengths if conditions.latent_mask is not None else None,
            callback_on_step_end=callback,
        )

    def teacher(
        self,
        conditions: Conditions,
        timesteps: Tensor,
        solver: TeacherSolver,
        generators: Sequence[torch.Generator],
        callback: SampleCallback | None = None,
    ) -> Tensor:
        """Follow the guided teacher along falling timesteps; ``[B, C, L]``."""
        noise = self._noise(conditions, generators)
        denoise = self.teacher_denoise(conditions)
        lengths = conditions.lengths if conditions.latent_mask is not None else None
        if solver == "ddpm":
            return sample_ddpm(
                denoise,
                noise,
                timesteps,
                self.schedule,
                generators,
                lengths=lengths,
                callback_on_step_end=callback,
            )
        return sample_ode(
            denoise,
            noise,
            timesteps,
            self.schedule,
            solver=solver,
            callback_on_step_end=callback,
        )

    def student_denoise(self, conditions: Conditions) -> Denoise:
        """Make the student's denoise function.

        A guided student knows ``x_0(w, c) = x_0(∅) + w · (x_0(c) - x_0(∅))`` in one query. With a
        negative prompt n in the place of ∅ this is
        ``x_0(w, c) - (w - 1) · (x_0(1, n) - x_0(1, ∅))``: three queries in one batch, and an empty
        negative prompt changes nothing.

        With `Conditions.post` p the answers themselves are guided, away from the negative or empty
        text: ``x_0(w, n) + p · (x_0(w, c) - x_0(w, n))``, two queries in one batch.

        Source: Ho and Salimans 2022 (classifier-free guidance), rearranged; for the guided answers
        Bai et al. 2024 (ConsistencyTTA).
        """
        denoiser = self._denoiser(self.sampling.student_prediction)
        w = conditions.w
        told = {"w": w} if self.sampling.student_guided else {}
        if conditions.post is not None:
            positive, negative = ({**conditions.of(row), **told} for row in (0, 1))
            return batched_guidance(denoiser, positive, negative, conditions.post)
        if not conditions.negative:
            return denoiser.bind(**conditions.of(0), **told)
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
        padded = conditions.latent_mask is not None
        noise = randn_per_sample(
            self.latent_shape(max(conditions.lengths)),
            generators,
            lengths=conditions.lengths if padded else None,
            device=conditions.w.device,
        )
        if self.sampling.initial_noise == "unit":
            return noise
        return noise * float(self.schedule.sigma(self.schedule.t_max))


def _join(values: list[Tensor | None]) -> Tensor | None:
    tensors = [value for value in values if value is not None]
    return torch.cat(tensors) if tensors else None
