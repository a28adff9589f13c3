"""Sounds from a network in training."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from soundleap.data.latents import encode_captions
from soundleap.diffusion.denoisers import NetworkDenoiser
from soundleap.diffusion.guidance import batched_guidance
from soundleap.diffusion.sampling import (
    consistency_timesteps,
    sample_consistency,
    sample_generators,
    sample_ode,
)
from soundleap.diffusion.schedules import NoiseSchedule, sampling_timesteps
from soundleap.training.snapshots import write_sounds
from soundleap.training.sound_parts import SoundParts

if TYPE_CHECKING:
    from soundleap.models.codec import Codec

SECONDS = 5.0
MakeFunction = Callable[[dict[str, Tensor], Tensor], Callable[[Tensor, Tensor], Tensor]]


@dataclass(frozen=True)
class Preview:
    """What is asked of a network in training.

    Attributes:
        prompts: one sound each, of five seconds, or as long as the codec's only length.
        guidance_scale: of all of them.
        parts: text encoder and codec, loaded for a snapshot and dropped after it.
    """

    prompts: Sequence[str]
    guidance_scale: float
    parts: SoundParts


@torch.no_grad()
def preview(
    folder: Path,
    denoiser: NetworkDenoiser,
    asked: Preview,
    *,
    steps: int = 20,
    guided: bool = False,
) -> None:
    """Sample with the ODE solver and write sounds and pictures.

    Args:
        folder: where to.
        denoiser: the network with its schedule.
        asked: prompts and parts.
        steps: of the solver.
        guided: whether the network takes the guidance scale as an input.
    """
    network: Any = denoiser.network
    count, device = len(asked.prompts), next(network.parameters()).device
    conditions, negative = text_conditions(asked, device)
    w = asked.guidance_scale
    if guided:
        scales = torch.full((count,), w, dtype=torch.float64, device=device)
        denoise = denoiser.bind(**conditions, w=scales)
    else:
        denoise = batched_guidance(denoiser, conditions, negative, w)
    codec = asked.parts.load_codec()
    x_T = first_noise(codec, count).to(device)
    schedule = denoiser.schedule
    latents = sample_ode(denoise, x_T, sampling_timesteps(schedule, steps), schedule)
    write_decoded(folder, latents.cpu(), asked.prompts, codec)


@torch.no_grad()
def preview_student(
    make_f: MakeFunction,
    grid: Tensor,
    schedule: NoiseSchedule,
    asked: Preview,
    folders: Mapping[int, Path],
    *,
    device: torch.device,
    scaled_noise: bool = False,
) -> None:
    """Sample with a consistency function and write sounds and pictures.

    Args:
        make_f: gives the function for conditions and guidance scales.
        grid: the trained timesteps.
        schedule: of the noise.
        asked: prompts and parts.
        folders: where to, by the number of steps.
        device: of the network.
        scaled_noise: whether the first noise is that of the noisiest timestep, not of unit size.
    """
    count = len(asked.prompts)
    conditions, _ = text_conditions(asked, device)
    scales = torch.full((count,), asked.guidance_scale, dtype=torch.float64, device=device)
    codec = asked.parts.load_codec()
    x_T = first_noise(codec, count).to(device)
    if scaled_noise:
        x_T = x_T * float(schedule.sigma(schedule.t_max))
    for steps, folder in folders.items():
        latents = sample_consistency(
            make_f(conditions, scales),
            x_T,
            consistency_timesteps(grid, steps),
            schedule,
            sample_generators(range(count)),
        )
        write_decoded(folder, latents.cpu(), asked.prompts, codec)


def text_conditions(
    asked: Preview, device: torch.device
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the conditions of the prompts and those of the empty prompt, equally many."""
    count = len(asked.prompts)
    states = encode_captions(asked.parts.load_text(), [*asked.prompts, ""])
    rows = (slice(0, count), torch.full((count,), count))
    both = [(states.embeds[some].to(device), states.mask[some].to(device)) for some in rows]
    positive, negative = ({"text_embeds": e, "text_mask": m} for e, m in both)
    return positive, negative


def first_noise(codec: Codec, count: int) -> Tensor:
    """Draw the noise that previews begin with, always the same."""
    shape = codec.latent.latent_shape(codec.latents_length(SECONDS))
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(0))


def write_decoded(folder: Path, latents: Tensor, names: Sequence[str], codec: Codec) -> None:
    """Decode latents and write sounds and pictures."""
    with torch.no_grad():
        waveforms = codec.decode(latents, sample_generators(range(len(latents))))[:, 0]
    sounds = {
        f"{i}-{re.sub('[^a-z0-9]+', '-', name.lower())[:24]}": w
        for i, (name, w) in enumerate(zip(names, waveforms, strict=True))
    }
    write_sounds(folder, sounds, codec.sampling_rate)
