"""What a checkpoint is, by the names of its tensors."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Literal

from soundleap.bundle_schema import Family
from soundleap.errors import BundleError, InputError
from soundleap.importers.checkpoint import Checkpoint

Form = Literal["ctta-training", "ctta-unet", "plain-unet", "audiolcm", "maa2"]
"""A layout that holds networks: ConsistencyTTA's training checkpoint or its guided U-Net alone, a
TANGO-like U-Net with its text encoder, AudioLCM's or Make-An-Audio 2's Lightning checkpoint."""

FAMILIES: dict[Form, tuple[Family, ...]] = {
    "ctta-training": ("consistencytta",),
    "ctta-unet": ("consistencytta",),
    "plain-unet": ("tango", "consistencytta"),
    "audiolcm": ("audiolcm",),
    "maa2": ("make-an-audio-2",),
}
"""The families that a layout can be imported as."""

LIGHT_WIDTH = 256
"""Width of the first level of ConsistencyTTA's lightweight TANGO; TANGO itself has 320."""

STUDENTS = (
    "student_unet.",
    "student_target_unet.",
    "student_ema_unet.",
    "consistency_unet.",
    "consistency_ema_unet.",
    "consistency_slow_ema_unet.",
)
TEACHERS = ("teacher_unet.", "diffusion_unet.")

_PARTS = {
    "first_stage_model.": (
        "AudioLDM's checkpoint, of which the autoencoder and vocoder are of use here: give it with "
        "--vae when importing ConsistencyTTA or TANGO"
    ),
    "model.diffusion_model.input_blocks.": (
        "a 2-D latent diffusion model (AudioLDM, Make-An-Audio 1), whose networks are not known "
        "here"
    ),
    "decoder.up.": "an autoencoder alone; give it with --vae when importing a whole system",
    "conv_pre.": "a vocoder alone; give its folder with --vocoder when importing AudioLCM or "
    "Make-An-Audio 2",
    "stft_fn.": "TANGO's mel front-end, which nothing needs: it is computed, not learnt",
    "encoder.block.": "a T5 encoder; give it with --text-encoder when importing a whole system",
}


def recognise(checkpoint: Checkpoint) -> Form:
    """Tell the layout of a checkpoint.

    Raises:
        BundleError: if it is none that holds networks; the message says what else it is.
    """
    names = checkpoint.keys()
    if _any(names, STUDENTS):
        return "ctta-training"
    if "guidance_proj.weight" in names:
        return "ctta-unet"
    if "unet.conv_in.weight" in names:
        return "plain-unet"
    if _any(names, ("unet.diffusion_model.",)):
        return "audiolcm"
    if "model.diffusion_model.t_embedder.mlp.0.weight" in names:
        return "maa2"
    raise _unknown(checkpoint.path, names)


def choose_family(
    checkpoint: Checkpoint, form: Form, wanted: Family | None, hint: Family | None
) -> Family:
    """Give the family to import as.

    Args:
        checkpoint: its shapes part TANGO from ConsistencyTTA's lightweight teacher.
        form: its layout.
        wanted: what the user says; None to recognise it.
        hint: what the file's name says.

    Raises:
        InputError: if the user says another family than the checkpoint is of.
    """
    possible = FAMILIES[form]
    if wanted is not None:
        if wanted not in possible:
            raise InputError(
                f"family is {wanted!r} but {checkpoint.path} is of {' or '.join(possible)}; "
                "leave --family out"
            )
        return wanted
    if form != "plain-unet":
        return possible[0]
    light = checkpoint["unet.conv_in.weight"].shape[0] == LIGHT_WIDTH
    return "consistencytta" if light or hint == "consistencytta" else "tango"


def _any(names: Collection[str], prefixes: tuple[str, ...]) -> bool:
    return any(name.startswith(prefixes) for name in names)


def _unknown(path: Path, names: Collection[str]) -> BundleError:
    for prefix, what in _PARTS.items():
        if _any(names, (prefix,)):
            return BundleError(f"{path} is {what}")
    first = ", ".join(sorted(names)[:5])
    return BundleError(f"{path} is of no family that is known here; its tensors begin with {first}")
