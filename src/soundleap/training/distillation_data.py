"""What a distillation learns from, and how it hears: opened from settings, before any work."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from soundleap.data.captions_only import CaptionsOnly, read_captions_only
from soundleap.data.source import LatentSource, open_source
from soundleap.errors import InputError
from soundleap.plans import latents_length
from soundleap.training.decoding import SoundDecoder
from soundleap.training.distillation_settings import DistillationSettings
from soundleap.training.objectives.distances import Decode
from soundleap.training.teacher_parts import TeacherParts

if TYPE_CHECKING:
    from soundleap.models.codec import Codec


def open_data(
    settings: DistillationSettings, parts: TeacherParts, *, progress: bool = True
) -> LatentSource:
    """Open latents with captions, or captions alone.

    Args:
        settings: they name it.
        parts: the text encoder and codec of captions alone.
        progress: whether to show a bar.

    Raises:
        InputError: if there is nothing of the kind, or the codec does not fit.
        BundleError: if a file can't be read.
    """
    if settings.data == "latents":
        assert settings.cache is not None  # the settings see to it
        return open_source(settings.cache)
    assert settings.captions is not None
    codec = parts.load_codec()
    lengths = _lengths(settings, parts, codec)
    shape = codec.latent.latent_shape(lengths[1])
    return CaptionsOnly(
        read_captions_only(settings.captions),
        parts.load_text(),
        vector_shape=(shape[0], *shape[2:]),
        lengths=lengths,
        seed=settings.seed,
        progress=progress,
    )


def decoder_of(
    settings: DistillationSettings, parts: TeacherParts, device: torch.device
) -> Decode | None:
    """Return what the distances "mel" and "stft" decode with; None for others.

    Where no vocoder is known, Griffin-Lim makes the waveforms.

    Raises:
        InputError: if no codec is known, or the vocoder is not there.
        BundleError: if a file can't be read.
    """
    if not settings.decoded:
        return None
    if settings.distance == "stft" and parts.vocoder is not None and not parts.vocoder.exists():
        raise InputError(f"distance is stft, but there is no vocoder at {parts.vocoder}")
    codec = parts.load_codec().to(device)
    decoder = SoundDecoder(codec.latent, codec.vocoder)
    return decoder.mel if settings.distance == "mel" else decoder.waveform


def _lengths(settings: DistillationSettings, parts: TeacherParts, codec: Codec) -> tuple[int, int]:
    """Turn the range of durations into numbers of latent vectors."""
    wanted, fixed = settings.duration_range_in_s, codec.fixed_length
    if fixed is not None:
        if wanted is not None:
            raise InputError(
                f"{parts.place} makes sounds of one length, which has no use for "
                f"duration_range_in_s={wanted[0]:g} to {wanted[1]:g}; leave it out"
            )
        return fixed, fixed
    if wanted is None:
        raise InputError(
            f"{parts.place} makes sounds of any length; set duration_range_in_s, for example "
            "[2, 10]"
        )
    manifest = None if parts.bundle is None else parts.bundle.manifest
    low, high = (
        codec.latents_length(duration)
        if manifest is None
        else latents_length(duration, codec, manifest)
        for duration in wanted
    )
    return low, high
