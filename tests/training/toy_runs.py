"""A corpus of tones and noises, and settings of every stage at toy width."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from soundleap.data.manifest import Clip, write_manifest
from soundleap.training.cache import CacheSettings, make_cache
from soundleap.training.checkpoint import load_latest
from soundleap.training.codec import CodecSettings, fit_codec
from soundleap.training.distillation import DistillationSettings
from soundleap.training.teacher import TeacherSettings, TeacherStory
from soundleap.training.vocoder import VocoderSettings

RATE = 16000
COMMON: dict[str, Any] = {
    "mixed_precision": "no",
    "threads": 1,
    "log_iterations": 2,
    "warmup_iterations": 2,
    "checkpoint_minutes": 60.0,
    "snapshot_minutes": 60.0,
}


@dataclass(frozen=True)
class Toy:
    """Paths of what the toy stages need."""

    manifest: str
    codec: str
    cache: str
    heldout_cache: str
    teacher: str

    def teacher_settings(self, run_dir: Path, **changes: Any) -> TeacherSettings:
        values: dict[str, Any] = {
            **COMMON, "cache": self.cache, "heldout_cache": self.heldout_cache,
            "codec": self.codec, "width": 32, "blocks": 1, "heads": 2, "batch_size": 60,
            "iterations": 8, "preview_prompts": (),
        }  # fmt: skip
        return TeacherSettings(run_dir=str(run_dir), **{**values, **changes})

    def vocoder_settings(self, run_dir: Path, **changes: Any) -> VocoderSettings:
        values: dict[str, Any] = {
            **COMMON, "manifests": (self.manifest,), "codec": self.codec, "width": 16, "blocks": 1,
            "crop_frames": 16, "batch_size": 2, "iterations": 4, "adversarial_start": 1,
        }  # fmt: skip
        return VocoderSettings(run_dir=str(run_dir), **{**values, **changes})

    def distillation_settings(self, run_dir: Path, **changes: Any) -> DistillationSettings:
        values: dict[str, Any] = {
            **COMMON, "cache": self.cache, "teacher": self.teacher, "codec": self.codec,
            "batch_size": 60, "iterations": 6, "solver_steps": 2, "preview_prompts": (),
        }  # fmt: skip
        return DistillationSettings(run_dir=str(run_dir), **{**values, **changes})


def make_toy(folder: Path) -> Toy:
    """Write corpus, codec, caches and a teacher (untrained, but with an output)."""
    manifest = str(write_corpus(folder / "corpus"))
    codec = str(fit_codec(
        CodecSettings(run_dir=str(folder / "codec"), manifests=(manifest,), channels=16),
        progress=False,
    ) / "codec.safetensors")  # fmt: skip
    for split, mixtures in (("train", 3), ("heldout", 0)):
        settings = CacheSettings(
            run_dir=str(folder / split), manifests=(manifest,), codec=codec, split=split,
            variants={"tones": 2, "*": 1}, mixtures=mixtures, favourites=("tones",),
        )  # fmt: skip
        make_cache(settings, progress=False)
    teacher = folder / "teacher" / "teacher.safetensors"
    toy = Toy(manifest, codec, str(folder / "train"), str(folder / "heldout"), str(teacher))
    story = TeacherStory(toy.teacher_settings(teacher.parent), progress=False)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in story.average.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    teacher.parent.mkdir()
    story.export(teacher.parent)
    return toy


def write_corpus(folder: Path) -> Path:
    """Write eight tones and six noises of about a second, four of them held out."""
    folder.mkdir()
    clips: list[Clip] = []
    rng = np.random.default_rng(0)
    for i in range(14):
        seconds = 0.8 + 0.1 * i
        time = np.arange(round(seconds * RATE)) / RATE
        tone = i < 8
        samples = (
            0.3 * np.sin(2 * np.pi * 200 * (i + 1) * time)
            if tone
            else 0.1 * rng.standard_normal(len(time)) * np.exp(-time * i / 4)
        )
        name = f"{i}.wav"
        soundfile.write(folder / name, samples.astype(np.float32), RATE)
        what = f"a tone of {200 * (i + 1)} hertz" if tone else f"noise number {i}"
        clips.append(
            Clip(
                id=f"clip-{i}", file=name, start=0.0, seconds=len(time) / RATE,
                captions=(what, f"sound {i}"), source="tones" if tone else "noises",
                licence="CC0-1.0", author="nobody", split="heldout" if i % 4 == 3 else "train",
                kind=("event", "ambience", "music")[i % 3],
            )
        )  # fmt: skip
    path = folder / "manifest.jsonl"
    write_manifest(clips, path)
    return path


def outcome(folder: str | Path) -> tuple[dict[str, Any], list[dict[str, float]], dict[str, bytes]]:
    """Return a run's last checkpoint, its stats without times, and the files it exported."""
    folder = Path(folder)
    text = (folder / "stats.jsonl").read_text().splitlines()
    stats = [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in text]
    state = load_latest(folder)
    assert state is not None
    return state, stats, {p.name: p.read_bytes() for p in folder.glob("*.safetensors")}


def assert_same_run(one: str | Path, other: str | Path) -> None:
    """Check that two runs ended with the same bits and told the same on their way."""
    (state_a, stats_a, files_a), (state_b, stats_b, files_b) = outcome(one), outcome(other)
    torch.testing.assert_close(state_a, state_b, rtol=0, atol=0)
    assert stats_a == stats_b
    assert files_a == files_b
