"""From the folders of finished runs to a model folder."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any, cast

import torch
import yaml
from pydantic import ValidationError

from soundleap._version import __version__
from soundleap.audio.mel import LogMel
from soundleap.bundle import Bundle
from soundleap.bundle_schema import Description, Sampling
from soundleap.bundle_writer import BundleParts, save_bundle
from soundleap.diffusion.schedules import NoiseSchedule
from soundleap.errors import InputError
from soundleap.models.codec import Codec
from soundleap.models.registry import load_latent_codec, load_network, load_vocoder
from soundleap.training.distillation import DistillationSettings
from soundleap.training.rewards.record import KEY, rewards_of
from soundleap.training.settings import load_settings

RUNS = (
    "codec", "cache", "vocoder", "teacher",
    "student-near", "student-far", "student-long", "student-few", "student",
)  # fmt: skip
PATHS = (
    "run_dir", "manifests", "codec", "vocoder", "text", "teacher", "start", "cache",
    "heldout_cache", "captions", "weights",
)  # fmt: skip


@dataclass(frozen=True)
class Figures:
    """What a person says about a model; see `Description` and `Sampling`.

    Attributes:
        name: of the model; None: "default", or the teacher's with "-student".
        version: of the weights.
        licence: SPDX expression; None: Apache-2.0, or the teacher's.
        default_steps: queries where none are asked for.
        default_guidance_scale: None: the teacher's, or the nearest that the student was trained
            for.
        quality: measured figures by name.
    """

    name: str | None = None
    version: str = "1"
    licence: str | None = None
    default_steps: int = 2
    default_guidance_scale: float | None = None
    quality: dict[str, float] = field(default_factory=dict[str, float])


def assemble_bundle(
    out: Path, runs: Path, figures: Figures, *, card: Path | None = None, with_teacher: bool = True
) -> Bundle:
    """Write a model folder from ``runs/{codec,vocoder,student,teacher}``.

    The grid and the consistency function come from the student's ``settings.yaml``.

    Args:
        out: the model folder.
        runs: the folder of the runs.
        figures: name, version, licence, defaults and measured quality.
        card: text for ``MODEL_CARD.md``; None writes a short one.
        with_teacher: whether the teacher goes in.

    Raises:
        InputError: if settings or card can't be read, or a default is out of range.
        BundleError: if a part is missing or does not fit, or the folder can't be written.
    """
    settings = load_settings(DistillationSettings, str(runs / "student" / "settings.yaml"))
    vocoder = load_vocoder(runs / "vocoder" / "vocoder.safetensors")
    latent = load_latent_codec(runs / "codec" / "codec.safetensors")
    teacher = load_network(runs / "teacher" / "teacher.safetensors") if with_teacher else None
    parts = BundleParts(
        codec=Codec(LogMel(vocoder.config.mel), latent, vocoder),
        student=load_network(runs / "student" / "student.safetensors"),
        teacher=teacher,
    )
    description = Description(
        name=figures.name or "default",
        version=figures.version,
        licence=figures.licence or "Apache-2.0",
        sampling=sampling_of(settings, figures),
        provenance=provenance_of(runs),
        quality=figures.quality,
    )
    return save_bundle(out, parts, description, model_card=read_card(card))


def sampling_of(
    settings: DistillationSettings, figures: Figures, teacher: Sampling | None = None
) -> Sampling:
    """Return how a distilled student is asked.

    Args:
        settings: of its run.
        figures: the defaults.
        teacher: how its teacher's model is asked; None for a teacher of the default family.

    Raises:
        InputError: if a default is outside what the student was trained for, or the student is not
            one of few steps.
    """
    if settings.objective == "guided":
        raise InputError(
            "the student has objective guided and takes as many steps as its teacher; distill it "
            "further, with objective=consistency and start= its file"
        )
    base = teacher or Sampling()
    grid = settings.grid(NoiseSchedule.scaled_linear(**dict(base.schedule))).tolist()
    most = min(8, sum(t > 0 for t in grid))
    if not 1 <= figures.default_steps <= most:
        raise InputError(f"steps is {figures.default_steps}; allowed: 1 to {most}")
    scale, (low, high) = figures.default_guidance_scale, settings.cfg_range
    if scale is None:
        scale = min(max(base.default_guidance_scale, low), high)
    student: dict[str, Any] = {
        "prediction": settings.prediction,
        "student_prediction": settings.student_gives,
        "boundary": settings.boundary,
        "sigma_data": settings.sigma_data,
        "timestep_scaling": settings.timestep_scaling,
        "grid": tuple(grid),
        "default_steps": figures.default_steps,
        "max_steps": most,
        "default_guidance_scale": scale,
        "student_guided": settings.guidance_embedding == "input",
        "guidance_range": settings.cfg_range,
        "initial_noise": "schedule" if settings.top_rule == "noise" else "unit",
    }
    try:
        return Sampling(**{**dict(base), **student})
    except ValidationError as error:
        faults = "; ".join(fault["msg"].removeprefix("Value error, ") for fault in error.errors())
        raise InputError(faults) from None


def provenance_of(runs: Path) -> dict[str, Any]:
    """Return what made the parts: settings of every run (paths shortened), reports, versions."""
    stages: dict[str, Any] = {}
    for name in RUNS:
        path = runs / name / "settings.yaml"
        if path.exists():
            stages[name] = stage_of(path)
    for name, file in (("codec_report", "codec/report.json"), ("cache_key", "cache/key.json")):
        if (runs / file).exists():
            stages[name] = json.loads((runs / file).read_text(encoding="utf-8"))
    return made_by(stages, runs / "student" / "student.safetensors")


def made_by(stages: dict[str, Any], student: Path) -> dict[str, Any]:
    """Return stages with versions and, if there were any, the networks that rewarded a student."""
    found = {"soundleap": __version__, "torch": torch.__version__.split("+")[0], "stages": stages}
    rewards = rewards_of(student)
    return found | ({KEY: rewards} if rewards else {})


def stage_of(path: Path) -> dict[str, Any]:
    """Read the settings of a run, with paths shortened."""
    values: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {key: shorten(key, value) for key, value in values.items()}


def shorten(key: str, value: Any) -> Any:
    """Keep folder and name of a path: where a person keeps files is nobody else's concern.

    An infinite number becomes a word, as JSON has none.
    """
    if isinstance(value, list):
        return [shorten(key, item) for item in cast("list[Any]", value)]
    if isinstance(value, dict):
        return {name: shorten(name, v) for name, v in cast("dict[str, Any]", value).items()}
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if key not in PATHS or value is None:
        return value
    return "/".join(PurePath(str(value)).parts[-2:])


def read_card(path: Path | None) -> str | None:
    """Read the text of a model card.

    Raises:
        InputError: if it can't be read.
    """
    try:
        return None if path is None else path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"can't read the model card {path}: {error}") from None
