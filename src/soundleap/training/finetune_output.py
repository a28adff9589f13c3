"""What fine-tuning leaves behind: the adapter's file, and sounds to be listened to."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from soundleap._version import __version__
from soundleap.diffusion.denoisers import NetworkDenoiser
from soundleap.models.lora import AdapterBase, AdapterInfo, Pair, write_adapter
from soundleap.training.finetune_settings import FinetuneSettings
from soundleap.training.lora import TARGETS, network_kind, pairs_of
from soundleap.training.previews import Preview, preview, preview_student
from soundleap.training.sound_parts import SoundParts

if TYPE_CHECKING:
    from soundleap.training.finetune import FinetuneStory

SHOWN_CAPTIONS = 10
TOLD = (
    "seed", "iterations", "teacher_iterations", "batch_size", "learning_rate", "rank", "alpha",
    "variants", "solver_steps", "skip_share", "target_ema", "keep", "sounds_sha256",
)  # fmt: skip
"""Settings that an adapter's file tells; not where anything is kept."""


def export_adapter(story: FinetuneStory) -> None:
    """Write the adapter as it is.

    A student that has not begun yet gets what the teacher has learned, which carries over.
    """
    settings, manifest = story.settings, story.bundle.manifest
    part = story.names[0]
    layers = pairs_of(story.networks[part])
    if part == "student" and "teacher" in story.networks and not _begun(layers):
        learned = pairs_of(story.networks["teacher"])
        layers = {name: pair for name, pair in learned.items() if name in layers}
    network = story.networks[part]
    info = AdapterInfo(
        name=settings.name,
        part=part,
        network=network_kind(network),
        rank=settings.rank,
        alpha=float(settings.rank if settings.alpha is None else settings.alpha),
        targets=settings.targets or TARGETS[network_kind(network)],
        base=AdapterBase(sha256=settings.base, model=manifest.name, version=manifest.version),
        captions=tuple(story.captions[:SHOWN_CAPTIONS]),
        provenance=provenance_of(settings, len(story.clips), story.seconds),
    )
    write_adapter(Path(settings.adapter), info, layers)


def provenance_of(settings: FinetuneSettings, clips: int, seconds: float) -> dict[str, Any]:
    """Return what made an adapter: settings, how many sounds, versions."""
    values = asdict(settings)
    return {
        "soundleap": __version__,
        "torch": torch.__version__.split("+")[0],
        "clips": clips,
        "seconds": round(seconds, 1),
        **{name: values[name] for name in TOLD},
    }


def snapshot_adapter(story: FinetuneStory, iteration: int, folder: Path) -> None:
    """Write sounds of the changed network for some captions, with pictures."""
    bundle, sampling, part = story.bundle, story.sampling, story.names[0]
    parts = SoundParts(
        codec=bundle.part_file("codec"),
        vocoder=bundle.part_file("vocoder"),
        text=bundle.text_folder,
    )
    prompts = story.settings.preview_prompts or tuple(story.captions[:4])
    asked = Preview(prompts, sampling.default_guidance_scale, parts)
    network, name = story.networks[part], f"snapshot-{iteration:06d}"
    if part == "teacher":
        denoiser = NetworkDenoiser(network, story.schedule, sampling.prediction)
        preview(folder / name, denoiser, asked)
        return
    objective = story.student
    assert objective is not None
    preview_student(
        lambda conditions, w: objective.function(network, conditions, w),
        objective.grid,
        story.schedule,
        asked,
        {sampling.default_steps: folder / name},
        device=story.device,
        scaled_noise=sampling.initial_noise == "schedule",
    )


def _begun(layers: dict[str, Pair]) -> bool:
    return any(bool(pair.b.any()) for pair in layers.values())
