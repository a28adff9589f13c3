"""What makes a latent cache: the parts of a model of any family, or a codec by itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from soundleap.errors import BundleError, InputError
from soundleap.models.registry import NETWORKS, outline
from soundleap.training.sound_parts import SoundParts

if TYPE_CHECKING:
    from soundleap.bundle import Bundle
    from soundleap.models.codec import Codec

EQUAL_MULTIPLE = 32
"""Latent vectors of which lengths are multiples, where a batch has one length."""

HALF_PEAK = ("tango", "consistencytta")
"""Families whose codec and networks know sounds without offset and with a peak of 0.5."""


@dataclass(frozen=True)
class CacheParts:
    """What makes a cache.

    Attributes:
        sound: codec, vocoder (for its mel settings) and text encoder.
        multiple: latent vectors of which lengths are multiples.
        half_peak: whether waveforms lose their offset and get a peak of 0.5, as ConsistencyTTA
            reads them.
        limit_in_s: longest sound that the model makes; None where any will do.
    """

    sound: SoundParts
    multiple: int = 1
    half_peak: bool = False
    limit_in_s: float | None = None

    def max_seconds(self, codec: Codec) -> float:
        """Give the length to which longer sounds are cropped."""
        limit = float("inf") if self.limit_in_s is None else self.limit_in_s
        if codec.fixed_length is None:
            return limit
        whole = codec.fixed_length * codec.samples_per_latent / codec.sampling_rate
        return min(limit, whole)

    @property
    def described(self) -> str:
        """Say what is not as it always was, for a cache's key."""
        changes = {
            "length_multiple": None if self.multiple == 1 else self.multiple,
            "half_peak": self.half_peak or None,
        }
        return "".join(f"; {name} {value}" for name, value in changes.items() if value is not None)


def cache_parts(codec: str | None, model: str | None, length_multiple: int | None) -> CacheParts:
    """Find what makes a cache.

    Args:
        codec: file of a latent codec of the default family; or
        model: a model folder, known name or hub id.
        length_multiple: see `CacheSettings`.

    Raises:
        InputError: if neither is given, or a multiple for a codec with one length only.
        BundleError: if the model can't be opened, a file is damaged, or the codec can't encode.
    """
    if model is None:
        if codec is None:
            raise InputError("neither codec nor model is given")
        return CacheParts(SoundParts(codec=Path(codec)), length_multiple or 1)
    from soundleap.resolve import open_model

    bundle = open_model(model)
    sound = SoundParts(
        codec=bundle.part_file("codec"),
        vocoder=bundle.part_file("vocoder"),
        text=bundle.text_folder,
    )
    config, manifest = sound.codec_config, bundle.manifest
    if not getattr(config, "encoder", True):
        raise BundleError(
            f"the codec of {model} holds its decoder only; import the model with its encoder"
        )
    fixed = getattr(config, "fixed_length", None)
    if fixed is not None and length_multiple is not None:
        raise InputError(
            f"length_multiple is {length_multiple}, but the codec of {model} takes {fixed} latent "
            "vectors alone; leave it out"
        )
    usual = 1 if fixed is not None or _mixed_lengths(bundle) else EQUAL_MULTIPLE
    return CacheParts(
        sound,
        length_multiple or usual,
        manifest.kind in HALF_PEAK,
        manifest.sampling.max_duration_in_s,
    )


def _mixed_lengths(bundle: Bundle) -> bool:
    """Whether all of a model's networks take sounds of different lengths at once."""
    files = [bundle.part_file(name) for name in bundle.manifest.networks]
    with torch.device("meta"):
        return all(outline(path, NETWORKS).mixed_lengths for path in files if path is not None)
