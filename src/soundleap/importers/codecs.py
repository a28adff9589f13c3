"""Autoencoders and vocoders of the published systems."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import yaml
from torch import Tensor

from soundleap.errors import BundleError
from soundleap.importers.checkpoint import Checkpoint, open_checkpoint
from soundleap.importers.files import VOCODER_FILES
from soundleap.importers.keys_1d import (
    autoencoder1d_config,
    autoencoder1d_state,
    bigvgan_config,
    bigvgan_state,
)
from soundleap.importers.keys_2d import (
    hifigan_config,
    hifigan_state,
    split_vae,
    vae2d_config,
    vae2d_state,
)
from soundleap.importers.plan import PartPlan, read_scale

FIRST_STAGE = "first_stage_model."
SCALE = 0.9227914214134216
"""Of audioldm-s-full, the autoencoder that ConsistencyTTA and TANGO were trained with."""

OTHER_SCALES = {
    0.9392935633659363: "audioldm-s-full-v2",
    0.9138255715370178: "audioldm-m-full",
    0.4110932946205139: "AudioLDM 2",
}
"""Of autoencoders that look the same and are not."""

_NEAR = 1e-4
_ADVICE = "take audioldm-s-full.ckpt, which holds it, with --vae"


def audioldm_parts(
    published: Mapping[str, Tensor], path: Path, scale_factor: Any
) -> list[PartPlan]:
    """Plan AudioLDM's autoencoder and vocoder.

    Args:
        published: both, without prefix.
        path: the file they are from.
        scale_factor: that is stored beside them.

    Raises:
        BundleError: if the factor is missing or is that of another autoencoder.
    """
    scale = read_scale(path, scale_factor, _ADVICE)
    if abs(scale / SCALE - 1) > _NEAR:
        whose = next((w for x, w in OTHER_SCALES.items() if abs(scale / x - 1) < _NEAR), None)
        raise BundleError(
            f"{path} holds scale_factor {scale:.6g}"
            + (f", that of {whose}" if whose else "")
            + f"; these networks were trained with audioldm-s-full's, {SCALE:.6g}: {_ADVICE}"
        )
    without_loss = {name: x for name, x in published.items() if not name.startswith("loss.")}
    vae, vocoder = split_vae(without_loss)
    if not vocoder:
        raise BundleError(f"{path} holds no vocoder beside the autoencoder; {_ADVICE}")
    return [
        PartPlan("codec", vae2d_config(vae, scale_factor=scale), vae2d_state(vae)),
        PartPlan("vocoder", hifigan_config(vocoder), hifigan_state(vocoder)),
    ]


def open_audioldm(path: Path) -> tuple[Checkpoint, list[PartPlan]]:
    """Open a file with AudioLDM's autoencoder and vocoder, and plan both.

    Known are ``audioldm-s-full.ckpt``, the demo's ``vae_state_dict.pt`` and TANGO's
    ``pytorch_model_vae.bin``, which has its factor in ``vae_config.json`` beside it.

    Raises:
        BundleError: if it is none of these, or its factor is missing or wrong.
    """
    checkpoint = open_checkpoint(path)
    published = checkpoint.under(FIRST_STAGE)
    if published:
        scale = checkpoint.get("scale_factor", checkpoint.beside.get("scale_factor"))
    else:
        published = {name: x for name, x in checkpoint.items() if name != "scale_factor"}
        scale = checkpoint.get("scale_factor", checkpoint.beside.get("scale_factor"))
        scale = _config_scale(path) if scale is None else scale
    return checkpoint, audioldm_parts(published, path, scale)


def autoencoder1d_part(published: Mapping[str, Tensor], scale_factor: float) -> PartPlan:
    """Plan the autoencoder of AudioLCM and Make-An-Audio 2."""
    config = autoencoder1d_config(published, scale_factor=scale_factor)
    return PartPlan("codec", config, autoencoder1d_state(published))


def open_bigvgan(path: Path) -> tuple[Checkpoint, PartPlan, Path]:
    """Open the vocoder of AudioLCM and Make-An-Audio 2.

    Args:
        path: a folder with ``best_netG.pt`` and ``args.yml``, or that file with the other beside.

    Returns:
        The file, the plan of the part, and the path of the settings.

    Raises:
        BundleError: if one is missing or can't be read.
    """
    weights = path / VOCODER_FILES[0] if path.is_dir() else path
    settings = weights.with_name(VOCODER_FILES[1])
    for file in (weights, settings):
        if not file.is_file():
            raise BundleError(f"{file} is missing; a vocoder is {' and '.join(VOCODER_FILES)}")
    try:
        args = yaml.safe_load(settings.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise BundleError(f"can't read {settings}: {error}") from None
    if not isinstance(args, dict):
        raise BundleError(f"{settings} holds no settings")
    checkpoint = open_checkpoint(weights)
    config = bigvgan_config(cast("dict[str, Any]", args))
    part = PartPlan("vocoder", config, bigvgan_state(checkpoint))
    checkpoint.release()
    return checkpoint, part, settings


def _config_scale(path: Path) -> Any:
    beside = path.with_name("vae_config.json")
    if not beside.is_file():
        return None
    try:
        record = json.loads(beside.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BundleError(f"can't read {beside}: {error}") from None
    return record.get("scale_factor") if isinstance(record, dict) else None
