"""ConsistencyTTA: its training checkpoints, the networks of its demo, and its lightweight teacher.

Source: Bai et al., ConsistencyTTA (2024); names of revision 8ea43b6.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from soundleap.bundle_schema import Sampling
from soundleap.errors import BundleError, InputError
from soundleap.importers.checkpoint import Checkpoint
from soundleap.importers.keys_2d import unet2d_config, unet2d_state
from soundleap.importers.plan import Options, PartPlan, Which, check_known, wanted_copies

GRID_POINTS = 18
DURATION_IN_S = 10.24
COPIES: dict[Which, str] = {
    "student": "student_unet.",
    "target": "student_target_unet.",
    "ema": "student_ema_unet.",
}
"""Prefix of each copy of the student."""

_LEGACY = (
    ("consistency_slow_ema_", "student_ema_"),
    ("consistency_ema_", "student_target_"),
    ("consistency_unet", "student_unet"),
    ("diffusion_unet", "teacher_unet"),
)
_TUNED_VAE = ("ema_vae_decoder.", "ema_vae_pqconv.")
_KNOWN = (
    *("text_encoder.", "teacher_unet.", "student_", "unet.", "vae.", "loss."),
    *_TUNED_VAE,
)
_OWN_VAE = (
    "this model was trained with its own autoencoder, which is not supported; give --vae with the "
    "autoencoder that it started from, if that will do"
)
_FIRST_STAGE = "this is a student of the first stage, which does not give sounds in one query"


def sampling(grid_points: int = GRID_POINTS, guided: bool = True) -> Sampling:
    """How ConsistencyTTA is asked.

    Args:
        grid_points: of the evenly spaced grid that the student was trained on.
        guided: whether the student takes a guidance scale; one that was trained for a fixed one
            does not.
    """
    return Sampling(
        prediction="v",
        student_prediction="x0",
        boundary="identity",
        grid=tuple(999 * i / (grid_points - 1) for i in range(grid_points)),
        default_steps=1,
        max_steps=grid_points - 1,
        default_teacher_steps=18,
        max_teacher_steps=200,
        default_guidance_scale=4.0 if guided else 1.0,
        student_guided=guided,
        guidance_range=(0.0, 6.0) if guided else (1.0, 1.0),
        teacher_guidance_range=(1.0, 20.0),
        min_duration_in_s=0.5,
        max_duration_in_s=DURATION_IN_S,
        default_duration_in_s=DURATION_IN_S,
        initial_noise="schedule",
        teacher_solver="heun",
        teacher_spacing="linspace",
        remove_dc=True,
    )


def current_names(checkpoint: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give a training checkpoint's tensors their current names.

    Old checkpoints have other prefixes; where one has no average of its own with a slow decay, its
    target network stands for it too, as the original loads it.
    """
    tensors: dict[str, Tensor] = {}
    for name, tensor in checkpoint.items():
        new = next(
            (now + name.removeprefix(old) for old, now in _LEGACY if name.startswith(old)), name
        )
        tensors[new] = tensor
    old_target = any(name.startswith("consistency_ema_") for name in checkpoint)
    if old_target and not any(name.startswith(COPIES["ema"]) for name in tensors):
        target = COPIES["target"]
        tensors |= {
            COPIES["ema"] + name.removeprefix(target): tensor
            for name, tensor in tensors.items()
            if name.startswith(target)
        }
    return tensors


def training_networks(
    checkpoint: Checkpoint, settings: Mapping[str, Any], options: Options
) -> list[PartPlan]:
    """Plan the networks of a training checkpoint.

    Args:
        checkpoint: with current or old names.
        settings: of the run, where they are known.
        options: which copy, and whether the teacher too.

    Raises:
        BundleError: for unexpected tensors, or a run whose settings are not supported.
        InputError: if there is no such copy; the message lists those that are there.
    """
    _check_settings(settings, options)
    tensors = current_names(checkpoint)
    check_known(Checkpoint(checkpoint.path, tensors, {}, None), _KNOWN, ())
    _check_copies(tensors, options)
    which = options.which or "ema"
    prefixes = {**COPIES, "teacher": "teacher_unet."}
    here = [copy for copy, prefix in prefixes.items() if _under(tensors, prefix)]
    wanted = wanted_copies(which, options)
    for copy in wanted:
        if copy not in here:
            raise InputError(
                f"{checkpoint.path} holds no {copy} network; it holds: {', '.join(here)}"
            )
    return [_network(_under(tensors, prefixes[copy]), copy, options) for copy in wanted]


def demo_network(checkpoint: Checkpoint, options: Options) -> list[PartPlan]:
    """Plan the demo's guided U-Net.

    Raises:
        InputError: if another copy, or a teacher, is asked for: there is one network only.
    """
    if options.which not in (None, "ema") or options.with_teacher:
        raise InputError(
            f"{checkpoint.path} holds one network, the student; "
            "leave --which and --with-teacher out"
        )
    return [_network(dict(checkpoint), "ema", options)]


def plain_network(checkpoint: Checkpoint, options: Options) -> list[PartPlan]:
    """Plan the U-Net of TANGO, or of ConsistencyTTA's lightweight teacher.

    Raises:
        BundleError: for unexpected tensors.
        InputError: if a student is asked for.
    """
    if options.which not in (None, "teacher"):
        raise InputError(f"{checkpoint.path} holds a teacher only, no {options.which} network")
    check_known(checkpoint, ("unet.", "text_encoder.", "vae.", "loss."), ())
    return [_network(checkpoint.under("unet."), "teacher", options)]


def _network(published: Mapping[str, Tensor], copy: str, options: Options) -> PartPlan:
    name = "teacher" if copy == "teacher" else "student"
    config = unet2d_config(
        published,
        attention_heads=options.attention_heads,
        prediction="v" if name == "teacher" else "x0",
    )
    exact = ("frequencies",) if config.guided else ()
    return PartPlan(name, config, unet2d_state(published), exact)


def _check_settings(settings: Mapping[str, Any], options: Options) -> None:
    if settings.get("use_karras"):
        raise BundleError("this model was trained on a Karras grid, which is not supported")
    if settings.get("finetune_vae") and options.vae is None:
        raise BundleError(_OWN_VAE)
    if settings.get("stage") == 1:
        raise BundleError(_FIRST_STAGE)


def _check_copies(tensors: Mapping[str, Tensor], options: Options) -> None:
    """Find out from the names what the settings would tell, where there are none."""
    if any(name.startswith(_TUNED_VAE) for name in tensors) and options.vae is None:
        raise BundleError(_OWN_VAE)
    here = {copy for copy, prefix in COPIES.items() if _under(tensors, prefix)}
    if here == {"student", "ema"} and options.which != "teacher":  # the second stage has a target
        raise BundleError(_FIRST_STAGE)


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): x for name, x in tensors.items() if name.startswith(prefix)}
