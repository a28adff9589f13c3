"""The kinds of parts that a model is made of, by the name that their files carry."""

from __future__ import annotations

import json
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from soundleap.errors import BundleError, InputError
from soundleap.models.skip_init import SkipInit
from soundleap.models.store import load_state, read_config

if TYPE_CHECKING:
    from torch import nn

    from soundleap.models.seams import LatentCodec, Network, Text, Vocoder


class Kind(NamedTuple):
    """Where a kind of part lives: its module in `soundleap.models`, configuration and class."""

    module: str
    config: str
    part: str


NETWORKS = {
    "dit": Kind("dit", "DiTConfig", "DiT"),
    "unet2d": Kind("unet2d", "UNet2DConfig", "UNet2D"),
    "concat_dit": Kind("concat_dit", "ConcatDiTConfig", "ConcatDiT"),
}
"""Denoising networks; a file that names no kind holds a `DiT`."""

LATENT_CODECS = {
    "patch_pca": Kind("patch_pca", "PatchPCAConfig", "PatchPCA"),
    "vae1d": Kind("vae1d", "VAE1dConfig", "VAE1d"),
    "autoencoder1d": Kind("autoencoder1d", "Autoencoder1dConfig", "Autoencoder1d"),
    "vae2d": Kind("vae2d", "VAE2dConfig", "VAE2d"),
}
"""Latent codecs; a file that names no kind holds a `PatchPCA`."""

VOCODERS = {
    "istft": Kind("istft_vocoder", "ISTFTVocoderConfig", "ISTFTVocoder"),
    "hifigan": Kind("hifigan", "HifiGanConfig", "HifiGan"),
    "bigvgan": Kind("bigvgan", "BigVGANConfig", "BigVGAN"),
}
"""Vocoders; a file that names no kind holds an `ISTFTVocoder`."""


TEXT_ENCODERS = {
    "minilm": ("text", "TextEncoder"),
    "t5": ("text_t5", "T5TextEncoder"),
    "bert_t5": ("text_bert_t5", "BertT5TextEncoder"),
}
"""Text encoders: module and class; a folder that names no kind holds a `TextEncoder`."""


def text_class(folder: Path) -> type[Text]:
    """Give the class of a text encoder's folder, by the kind in its ``config.json``.

    Raises:
        BundleError: if the file can't be read or the kind is unknown.
    """
    path = folder / "config.json"
    try:
        kind = json.loads(path.read_text(encoding="utf-8")).get("kind", "minilm")
    except (OSError, ValueError, AttributeError) as error:
        raise BundleError(f"can't read the text encoder's config {path}: {error}") from None
    if kind not in TEXT_ENCODERS:
        known = ", ".join(TEXT_ENCODERS)
        raise BundleError(f"{path} is of a text encoder of kind {kind!r}; known: {known}")
    module, name = TEXT_ENCODERS[kind]
    return getattr(import_module(f"soundleap.models.{module}"), name)


def load_network(path: Path) -> Network:
    """Load a denoising network, float32 on the CPU, not to be trained.

    Raises:
        BundleError: if the file can't be read, is of an unknown kind, or does not fit.
    """
    return _load(path, NETWORKS)


def load_latent_codec(path: Path) -> LatentCodec:
    """Load a latent codec; as `load_network`."""
    return _load(path, LATENT_CODECS)


def load_vocoder(path: Path) -> Vocoder:
    """Load a vocoder; as `load_network`."""
    return _load(path, VOCODERS)


def outline(path: Path, kinds: dict[str, Kind]) -> Any:
    """Build the part that a file holds, without its values.

    Raises:
        BundleError: if the file can't be read, is of an unknown kind, or its configuration does
            not fit.
    """
    values = read_config(path)
    name = values.get("kind", next(iter(kinds)))
    if name not in kinds:
        raise BundleError(f"{path} holds a part of kind {name!r}; known: {', '.join(kinds)}")
    kind = kinds[name]
    module = import_module(f"soundleap.models.{kind.module}")
    config = _config(path, getattr(module, kind.config), values)
    with SkipInit():
        return getattr(module, kind.part)(config)


def _load(path: Path, kinds: dict[str, Kind]) -> Any:
    part: nn.Module = outline(path, kinds)
    load_state(path, part)
    return part.eval().requires_grad_(False)


def _config(path: Path, make: Any, values: dict[str, Any]) -> Any:
    known = {field.name for field in fields(make)}
    given = {name: value for name, value in values.items() if name in known}
    faults = [f"unknown setting {name}" for name in sorted(values.keys() - known - {"kind"})]
    try:
        config = TypeAdapter(make).validate_python(given)
    except (InputError, ValidationError) as error:
        faults += _reasons(error)
    else:
        if not faults:
            return config
    reasons = "; ".join(faults)
    raise BundleError(f"{path} carries a configuration that does not fit: {reasons}")


def _reasons(error: InputError | ValidationError) -> list[str]:
    if isinstance(error, InputError):
        return [str(error)]
    return [
        ": ".join([*map(str, fault["loc"]), fault["msg"].removeprefix("Value error, ")])
        for fault in error.errors()
    ]
