"""Sounds from a network in training."""

from __future__ import annotations

import math
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
from soundleap.models.patch_pca import PatchPCA, PatchPCAConfig
from soundleap.models.store import load_state, read_config
from soundleap.models.text import TextEncoder
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
) -> None:
    """Sample five seconds for every prompt with the ODE solver and write sounds and pictures."""
    encoder = TextEncoder.default()
    states = encoder.encode([*prompts, *("" for _ in prompts)])
    count, device = len(prompts), next(network.parameters()).device
    parts = [
        (states.embeds[i : i + count].to(device), states.mask[i : i + count].to(device))
        for i in (0, count)
    ]
    conditions, negative = ({"text_embeds": e, "text_mask": m} for e, m in parts)
    denoise = batched_guidance(
        NetworkDenoiser(network, schedule, prediction), conditions, negative, guidance_scale
    )
    latent = load_codec(codec)
    generator = torch.Generator().manual_seed(0)
    x_T = torch.randn(count, latent.config.channels, LATENTS, generator=generator).to(device)  # noqa: N806
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
) -> None:
    """Sample five seconds for every prompt with a consistency function and write sounds."""
    states = TextEncoder.default().encode(list(prompts))
    count = len(prompts)
    conditions = {"text_embeds": states.embeds, "text_mask": states.mask}
    latent = load_codec(codec)
    generator = torch.Generator().manual_seed(0)
    x_T = torch.randn(count, latent.config.channels, LATENTS, generator=generator)  # noqa: N806
    latents = sample_consistency(
        make_f(conditions, torch.full((count,), guidance_scale)),
        x_T,
        consistency_timesteps(grid, steps),
        schedule,
        sample_generators(range(count)),
    )
    write_decoded(folder, latents, prompts, latent, vocoder, generator)


def load_codec(path: Path) -> PatchPCA:
    """Load a fitted codec."""
    codec = PatchPCA(PatchPCAConfig(**read_config(path)))
    load_state(path, codec)
    return codec


def write_decoded(
    folder: Path,
    latents: Tensor,
    names: Sequence[str],
    codec: PatchPCA,
    vocoder_path: Path | None,
    generator: torch.Generator,
) -> None:
    """Decode latents (with Griffin-Lim where there is no vocoder yet) and write sounds and pictures."""
    vocoder = ISTFTVocoder(ISTFTVocoderConfig())
    if vocoder_path is not None and vocoder_path.exists():
        load_state(vocoder_path, vocoder)
    frames = latents.shape[2] * codec.config.patch_frames
    mel = codec.decode(
        latents, torch.randn(len(latents), codec.config.n_mels, frames, generator=generator)
    )
    bins = vocoder.config.mel.n_fft // 2 + 1
    phase = torch.rand(len(latents), bins, frames, generator=generator) * 2 * math.pi
    with torch.no_grad():
        waveforms = vocoder(mel, phase)
    sounds = {
        f"{i}-{name[:24].replace(' ', '-')}": w
        for i, (name, w) in enumerate(zip(names, waveforms, strict=True))
    }
    write_sounds(folder, sounds, vocoder.config.mel.sampling_rate)
