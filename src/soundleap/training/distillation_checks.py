"""What may not fit together in a distillation, found before any work."""

from __future__ import annotations

from typing import Any

from soundleap.data.latents import digest, text_digest
from soundleap.data.source import LatentSource
from soundleap.errors import InputError
from soundleap.training.distillation_settings import DistillationSettings
from soundleap.training.students import start_faults, student_config
from soundleap.training.teacher_parts import TeacherParts, network_config, student_file


def check_parts(settings: DistillationSettings, parts: TeacherParts, source: LatentSource) -> None:
    """Refuse a teacher, a student to start from and a cache that do not fit together.

    Raises:
        InputError: naming every conflict and what to do.
        BundleError: if a file can't be read.
    """
    faults = [
        *_teacher_faults(settings, parts),
        *_codec_faults(settings, parts),
        *_source_faults(parts, source),
        *_start_faults(settings, parts),
    ]
    if faults:
        raise InputError("; ".join(faults))


def _teacher_faults(settings: DistillationSettings, parts: TeacherParts) -> list[str]:
    faults: list[str] = []
    if settings.prediction != parts.prediction:
        faults.append(
            f"prediction is {settings.prediction!r} but {parts.place} predicts "
            f"{parts.prediction!r}; set prediction={parts.prediction}"
        )
    if parts.config.guided:
        faults.append(f"{parts.place} is a student already; give its teacher")
    if parts.bundle is not None and parts.sampling.prediction != parts.prediction:
        faults.append(
            f"{parts.place} says that its teacher predicts {parts.sampling.prediction!r} but the "
            f"network's file {parts.prediction!r}; the model is not valid"
        )
    return faults


def _codec_faults(settings: DistillationSettings, parts: TeacherParts) -> list[str]:
    if parts.codec is None:
        if not settings.preview_prompts:
            return []
        return [
            f"{parts.place} is a network by itself and codec is not given: give codec= (and "
            "vocoder=), a model folder as teacher, or preview_prompts=[]"
        ]
    needed, found = vector_shape(parts.config), vector_shape(parts.codec_config)
    if needed == found:
        return []
    return [f"the codec makes latent vectors of {found} but {parts.place} takes {needed}"]


def _source_faults(parts: TeacherParts, source: LatentSource) -> list[str]:
    config, faults = parts.config, list[str]()
    needed, found = vector_shape(config), tuple(source.vector_shape)
    if found != needed:
        faults.append(f"the cache holds latent vectors of {found} but {parts.place} takes {needed}")
    width = source.text([source.empty]).embeds.shape[2]
    if width != config.text_dim:
        faults.append(
            f"the cache holds text states of {width} numbers but {parts.place} takes "
            f"{config.text_dim}"
        )
    faults += _length_faults(parts, source) + _key_faults(parts, source)
    if faults:
        whose = f"codec={parts.codec}" if parts.bundle is None else f"model={parts.place}"
        faults.append(f"make a cache for this teacher with soundleap data cache ... {whose}")
    return faults


def _length_faults(parts: TeacherParts, source: LatentSource) -> list[str]:
    shortest, longest = int(source.lengths.min()), int(source.lengths.max())
    fixed = getattr(parts.codec_config, "fixed_length", None)
    if fixed is not None and (shortest, longest) != (fixed, fixed):
        return [
            f"the cache holds sounds of {shortest} to {longest} latent vectors but the teacher's "
            f"codec takes {fixed} alone"
        ]
    most = getattr(parts.config, "max_positions", None)
    if most is None:
        return []
    texts = source.text([source.empty]).embeds.shape[1]
    if longest + texts + 1 > most:
        return [
            f"the cache holds sounds of up to {longest} latent vectors; with {texts} text states "
            f"the teacher takes at most {most - texts - 1}"
        ]
    return []


def _key_faults(parts: TeacherParts, source: LatentSource) -> list[str]:
    """Compare what the cache was made from with the teacher's own codec and text encoder."""
    key: dict[str, Any] | None = getattr(source, "key", None)
    if not key or parts.bundle is None:
        return []
    faults: list[str] = []
    if parts.codec is not None and key.get("codec") != digest([parts.codec]):
        faults.append(f"the cache's latents come from another codec than {parts.codec}")
    if key.get("text") != text_digest(parts.text):
        whose = "the built-in one" if parts.text is None else parts.text
        faults.append(f"the cache's text states come from another text encoder than {whose}")
    return faults


def _start_faults(settings: DistillationSettings, parts: TeacherParts) -> list[str]:
    if settings.start is None:
        return []
    path = student_file(settings.start)
    wanted = student_config(
        parts.config,
        guided=settings.guidance_embedding == "input",
        prediction=settings.student_gives,
    )
    return start_faults(path, network_config(path), wanted)


def vector_shape(config: Any) -> tuple[int, ...]:
    """Give the shape of a latent vector that a network or a codec knows: (C,) or (C, H)."""
    bins = getattr(config, "freq_bins", None)
    return (config.channels,) if bins is None else (config.channels, bins)
