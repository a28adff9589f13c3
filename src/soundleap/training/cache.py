"""Stage 3: from manifests to a cache of latents and text states."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import torch
from pydantic.dataclasses import dataclass
from torch import Tensor

from soundleap.audio.mel import LogMel, MelConfig
from soundleap.data.examples import ExampleMaker, ExamplePlan
from soundleap.data.latents import CacheKey, build_cache, digest
from soundleap.data.pool import AudioPool
from soundleap.models.latent_codecs import load_latent_codec
from soundleap.models.text import DEFAULT_FOLDER, TextEncoder
from soundleap.training.records import write_settings
from soundleap.training.settings import STRICT, RunSettings


@dataclass(frozen=True, config=STRICT, kw_only=True)
class CacheSettings(RunSettings):
    """Settings of `data cache`."""

    manifests: tuple[str, ...]
    codec: str
    split: str = "train"
    variants: dict[str, int]
    mixtures: int = 0
    favourites: tuple[str, ...] = ()


@dataclass(frozen=True)
class CacheReport:
    """What a cache holds: numbers of examples and of clips, and a line for every clip left out."""

    examples: int
    clips: int
    skipped: tuple[str, ...]


def make_cache(settings: CacheSettings, *, progress: bool = True) -> CacheReport:
    """Build or complete the cache in ``run_dir``, with ``report.json`` beside it."""
    torch.set_num_threads(settings.threads)
    codec = load_latent_codec(Path(settings.codec))
    mel = MelConfig()
    front_end = LogMel(mel)
    pool = AudioPool(settings.manifests, split=settings.split, progress=progress,
                     sampling_rate=mel.sampling_rate)  # fmt: skip
    plan = ExamplePlan(tuple(settings.variants.items()), settings.mixtures, settings.favourites)
    key = CacheKey(
        manifests=digest([Path(path) for path in settings.manifests]),
        codec=digest([Path(settings.codec)]),
        text=digest([DEFAULT_FOLDER / "model.safetensors", DEFAULT_FOLDER / "tokenizer.json"]),
        plan=repr(asdict(plan)),
        seed=settings.seed,
    )
    step = mel.hop_length * codec.config.patch_frames

    def encode(waveform: Tensor) -> Tensor:
        spare = -len(waveform) % step
        padded = torch.nn.functional.pad(waveform, (0, spare))
        with torch.no_grad():
            return codec.encode(front_end(padded[None]))[0]

    count = build_cache(
        Path(settings.run_dir),
        ExampleMaker(pool, plan, settings.seed),
        key,
        encode=encode,
        text_encoder=TextEncoder.default(),
        progress=progress,
    )
    write_settings(Path(settings.run_dir), settings)
    report = CacheReport(count, len(pool.clips), tuple(pool.skipped))
    path = Path(settings.run_dir) / "report.json"
    path.write_text(json.dumps(asdict(report), indent=1) + "\n", encoding="utf-8")
    return report
