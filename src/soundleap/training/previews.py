"""Sounds from a network in training."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from soundleap.diffusion.denoisers import NetworkDenoiser, Prediction
from soundleap.diffusion.guidance import batched_guidance
from soundleap.diffusion.sampling import (
    consistency_timesteps,
    sample_consistency,
    sample_generators,
    sample_ode,
)
from soundleap.diffusion.schedules import NoiseSchedule, sampling_timesteps
from soundleap.models.istft_vocoder import ISTFTVocoder, ISTFTVocoderConfig
from soundleap.models.latent_codecs import AnyLatentCodec, load_latent_codec
from soundleap.models.text import TextEncoder
from soundleap.training.parts import load_vocoder
from soundleap.training.snapshots import write_sounds

LATENTS = 40


@torch.no_grad()
def preview(
    folder: Path,
    network: nn.Module,
    schedule: NoiseSchedule,
    prediction: Prediction,
    *,
    prompts: Sequence[str],
    guidance_scale: float,
    codec: Path,
    vocoder: Path | None,
    steps: int = 20,
    guided: bool = False,
) -> None:
    """Sample five seconds for every prompt with the ODE solver and write sounds and pictures.

    A `guided` network takes the guidance scale as an input.
    """
    encoder = TextEncoder.default()
    states = encoder.encode([*prompts, *("" for _ in prompts)])
    count, device = len(prompts), next(network.parameters()).device
    parts = [
        (states.embeds[i : i + count].to(device), states.mask[i : i + count].to(device))
        for i in (0, count)
    ]
    conditions, negative = ({"text_embeds": e, "text_mask": m} for e, m in parts)
    denoiser = NetworkDenoiser(network, schedule, prediction)
    if guided:
        w = torch.full((count,), guidance_scale, device=device)
        denoise = denoiser.bind(**conditions, w=w)
    else:
        denoise = batched_guidance(denoiser, conditions, negative, guidance_scale)
    latent = load_latent_codec(codec)
    generator = torch.Generator().manual_seed(0)
    x_T = torch.randn(count, latent.config.channels, LATENTS, generator=generator).to(device)
    latents = sample_ode(denoise, x_T, sampling_timesteps(schedule, steps), schedule)
    write_decoded(folder, latents.cpu(), prompts, latent, vocoder, generator)


@torch.no_grad()
def preview_student(
    folder: Path,
    make_f: Callable[[dict[str, Tensor], Tensor], Callable[[Tensor, Tensor], Tensor]],
    schedule: NoiseSchedule,
    grid: Tensor,
    *,
    prompts: Sequence[str],
    guidance_scale: float,
    steps: int,
    codec: Path,
    vocoder: Path | None,
    device: torch.device,
) -> None:
    """Sample five seconds for every prompt with a consistency function and write sounds."""
    states = TextEncoder.default().encode(list(prompts))
    count = len(prompts)
    conditions = {"text_embeds": states.embeds.to(device), "text_mask": states.mask.to(device)}
    latent = load_latent_codec(codec)
    generator = torch.Generator().manual_seed(0)
    x_T = torch.randn(count, latent.config.channels, LATENTS, generator=generator).to(device)
    latents = sample_consistency(
        make_f(conditions, torch.full((count,), guidance_scale, device=device)),
        x_T,
        consistency_timesteps(grid, steps),
        schedule,
        sample_generators(range(count)),
    )
    write_decoded(folder, latents.cpu(), prompts, latent, vocoder, generator)


def write_decoded(
    folder: Path,
    latents: Tensor,
    names: Sequence[str],
    codec: AnyLatentCodec,
    vocoder_path: Path | None,
    generator: torch.Generator,
) -> None:
    """Decode latents, by Griffin-Lim until there is a vocoder; write sounds and pictures."""
    if vocoder_path is not None and vocoder_path.exists():
        vocoder = load_vocoder(vocoder_path)
    else:
        vocoder = ISTFTVocoder(ISTFTVocoderConfig())
    frames = latents.shape[2] * codec.config.patch_frames
    mel = codec.decode(
        latents, torch.randn(len(latents), codec.config.n_mels, frames, generator=generator)
    )
    bins = vocoder.config.mel.n_fft // 2 + 1
    phase = torch.rand(len(latents), bins, frames, generator=generator) * 2 * math.pi
    with torch.no_grad():
        waveforms = vocoder(mel, phase)
    sounds = {
        f"{i}-{re.sub('[^a-z0-9]+', '-', name.lower())[:24]}": w
        for i, (name, w) in enumerate(zip(names, waveforms, strict=True))
    }
    write_sounds(folder, sounds, vocoder.config.mel.sampling_rate)
