"""AudioLCM: student, target and teacher in one Lightning checkpoint.

Source: Liu et al., AudioLCM (2024); names of revision 51db10c.
"""

from __future__ import annotations

from soundleap.bundle_schema import Sampling
from soundleap.errors import InputError
from soundleap.importers.checkpoint import Checkpoint
from soundleap.importers.keys_1d import concat_dit_config, concat_dit_state
from soundleap.importers.make_an_audio_2 import (
    LATENT_IN_S,
    LIGHTNING_NAMES,
    LIGHTNING_PREFIXES,
    MAX_LATENTS,
    TEACHER,
)
from soundleap.importers.plan import Options, PartPlan, Which, check_known, wanted_copies

COPIES: dict[Which, str] = {
    "student": "unet.diffusion_model.",
    "target": "target_unet.diffusion_model.",
    "teacher": TEACHER,
}
"""Prefix of each copy of the transformer."""


def sampling(max_latents: int = MAX_LATENTS) -> Sampling:
    """How AudioLCM is asked.

    Args:
        max_latents: latent frames that the learned positions allow.
    """
    longest = max_latents * LATENT_IN_S
    return Sampling(
        prediction="eps",
        student_prediction="eps",
        boundary="lcm",
        grid=tuple(range(19, 1000, 20)),
        default_steps=2,
        max_steps=50,
        default_teacher_steps=100,
        max_teacher_steps=250,
        default_guidance_scale=5.0,
        guidance_range=(5.0, 13.0),
        teacher_guidance_range=(1.0, 20.0),
        min_duration_in_s=0.5,
        max_duration_in_s=longest,
        default_duration_in_s=min(312 * LATENT_IN_S, longest),
        teacher_solver="ddim",
        teacher_spacing="leading",
        structured_captions=True,
    )


def networks(checkpoint: Checkpoint, options: Options) -> list[PartPlan]:
    """Plan the transformers: the student, its target or the teacher, or student and teacher.

    Raises:
        BundleError: for unexpected tensors.
        InputError: if an average is asked for, which the checkpoint does not hold.
    """
    which = options.which or "student"
    if which not in COPIES:
        raise InputError(
            f"{checkpoint.path} holds no {which} network; it holds: {', '.join(COPIES)}"
        )
    prefixes = tuple(prefix for copy, prefix in COPIES.items() if copy != "teacher")
    check_known(checkpoint, (*LIGHTNING_PREFIXES, *prefixes), LIGHTNING_NAMES)
    return [_network(checkpoint, copy) for copy in wanted_copies(which, options)]


def _network(checkpoint: Checkpoint, copy: Which) -> PartPlan:
    name = "teacher" if copy == "teacher" else "student"
    published = checkpoint.under(COPIES[copy])
    # The teacher in this file has a guidance input too, which was never trained.
    guided = name == "student"
    config = concat_dit_config(published, guided=guided)
    return PartPlan(name, config, concat_dit_state(published, guided=guided))
