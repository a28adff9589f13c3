"""Which timesteps a sample visits, and how many latent vectors it has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from soundleap.bundle_schema import Manifest
from soundleap.diffusion import NoiseSchedule, consistency_timesteps, sampling_timesteps
from soundleap.diffusion.timesteps import (
    consistencytta_timesteps,
    leading_timesteps,
    linspace_timesteps,
    strided_timesteps,
)
from soundleap.requests import Sample

if TYPE_CHECKING:
    from soundleap.models.codec import Codec

MAKE_AN_AUDIO_2_RATE = 31.5
"""Latent vectors a second in that system's script; 31.25 would cover the sound."""


def timesteps_of(sample: Sample, manifest: Manifest) -> Tensor:
    """Give the falling timesteps that a sample visits, float64."""
    sampling = manifest.sampling
    schedule = NoiseSchedule.scaled_linear(**dict(sampling.schedule))
    steps = sample.num_inference_steps
    if sample.network == "teacher":
        return _teacher_timesteps(sample, manifest, schedule)
    if sample.compat and manifest.kind == "consistencytta":
        return consistencytta_timesteps(steps, schedule.t_max)
    return consistency_timesteps(torch.tensor(sampling.grid, dtype=torch.float64), steps)


def _teacher_timesteps(sample: Sample, manifest: Manifest, schedule: NoiseSchedule) -> Tensor:
    """Give a teacher's path.

    The published DDIM samplers end at t = 0, not at the clean end: their last signal level is that
    of the first training step. TANGO's own figures were made before its library counted timesteps
    from 1, so that `compat` counts from 0.
    """
    spacing, steps = manifest.sampling.teacher_spacing, sample.num_inference_steps
    if spacing == "trailing":
        return sampling_timesteps(schedule, steps)
    if spacing == "linspace":
        return linspace_timesteps(schedule, steps)
    if sample.compat and manifest.kind != "tango":
        return strided_timesteps(schedule, steps)
    offset = 0 if sample.compat else 1
    end = 0.0 if sample.solver == "ddim" and offset else -1.0
    return leading_timesteps(schedule, steps, offset=offset, end=end)


def latents_length(duration_in_s: float, codec: Codec, manifest: Manifest) -> int:
    """Give the number of latent vectors that a sound of this length is made from."""
    if manifest.sampling.length_rule == "cover":
        return codec.latents_length(duration_in_s)
    width = int(duration_in_s * MAKE_AN_AUDIO_2_RATE)
    return max(width + width % 2, codec.latents_length(duration_in_s))
