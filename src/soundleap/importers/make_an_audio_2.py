"""Make-An-Audio 2: a Lightning checkpoint that holds everything but the vocoder.

Source: Huang et al., Make-An-Audio 2 (2023); names of revision f02ec0a.
"""

from __future__ import annotations

import math

from soundleap.bundle_schema import Sampling
from soundleap.errors import InputError
from soundleap.importers.checkpoint import Checkpoint
from soundleap.importers.keys_1d import concat_dit_config, concat_dit_state
from soundleap.importers.plan import Options, PartPlan, check_known

TEACHER = "model.diffusion_model."
LIGHTNING_PREFIXES = (TEACHER, "first_stage_model.", "cond_stage_model.")
LIGHTNING_NAMES = (
    "betas",
    "alphas_cumprod",
    "alphas_cumprod_prev",
    "sqrt_alphas_cumprod",
    "sqrt_one_minus_alphas_cumprod",
    "log_one_minus_alphas_cumprod",
    "sqrt_recip_alphas_cumprod",
    "sqrt_recipm1_alphas_cumprod",
    "posterior_variance",
    "posterior_log_variance_clipped",
    "posterior_mean_coef1",
    "posterior_mean_coef2",
    "lvlb_weights",
    "logvar",
    "scale_factor",
)
"""Tensors of the schedule that such a checkpoint holds and nothing needs, and its scale factor."""

TOKENS_BEFORE = 1 + 2 * 77
"""Places in the sequence before the latents: the timestep and the text."""

MAX_LATENTS = 1000 - TOKENS_BEFORE
LATENT_IN_S = 512 / 16000
RULE = 31.5
"""Latent frames a second in the system's own length rule."""


def sampling(max_latents: int = MAX_LATENTS) -> Sampling:
    """How Make-An-Audio 2 is asked: 100 steps of DDIM with guidance 4.

    Args:
        max_latents: latent frames that the learned positions allow.
    """
    even = max_latents - max_latents % 2
    longest = math.floor(1000 * even / RULE) / 1000
    return Sampling(
        prediction="eps",
        student_prediction="eps",
        default_teacher_steps=100,
        max_teacher_steps=250,
        default_guidance_scale=4.0,
        teacher_guidance_range=(1.0, 20.0),
        min_duration_in_s=0.5,
        max_duration_in_s=longest,
        default_duration_in_s=min(10.0, longest),
        teacher_solver="ddim",
        teacher_spacing="leading",
        length_rule="make_an_audio_2",
        structured_captions=True,
    )


def networks(checkpoint: Checkpoint, options: Options) -> list[PartPlan]:
    """Plan the transformer, a teacher.

    Raises:
        BundleError: for unexpected tensors.
        InputError: if a student is asked for.
    """
    if options.which not in (None, "teacher"):
        raise InputError(f"{checkpoint.path} holds a teacher only, no {options.which} network")
    check_known(checkpoint, LIGHTNING_PREFIXES, LIGHTNING_NAMES)
    published = checkpoint.under(TEACHER)
    config = concat_dit_config(published, guided=False)
    return [PartPlan("teacher", config, concat_dit_state(published, guided=False))]
