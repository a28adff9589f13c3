"""From a finished distillation of any family to a model folder, with the teacher's own parts."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import safe_open

from soundleap._version import __version__
from soundleap.bundle import Bundle, hash_builtin_text, hash_file
from soundleap.bundle_schema import CARD_NAME, MANIFEST_NAME, Manifest, Part, Parts
from soundleap.bundle_writer import StoredType, copy_text, new_folder, short_card
from soundleap.errors import BundleError, InputError
from soundleap.models.registry import VOCODERS, load_network, outline
from soundleap.models.tensor_file import write_tensors
from soundleap.training.assemble import Figures, read_card, sampling_of, shorten
from soundleap.training.distillation_settings import DistillationSettings
from soundleap.training.rewards.record import KEY, rewards_of
from soundleap.training.settings import load_settings
from soundleap.training.teacher_parts import TeacherParts, find_teacher

_EXACT = ("frequencies",)
"""Tensors that stay in float32: rounded, a U-Net's guidance frequencies are noise."""


@dataclass(frozen=True)
class StudentFigures:
    """What a person says about a student; None is taken from its teacher.

    Attributes:
        name: of the model; None: the teacher's with "-student".
        version: of the weights.
        licence: SPDX expression; None: the teacher's.
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


def assemble_student(
    out: Path,
    run: Path,
    figures: StudentFigures,
    *,
    card: Path | None = None,
    with_teacher: bool = True,
) -> Bundle:
    """Write a model folder from a distillation's run folder.

    Codec, vocoder, text encoder, schedule and family are those of the teacher's model (unless the
    run's settings name others); grid and consistency function come from the run's settings.

    Args:
        out: the model folder.
        run: with ``settings.yaml`` and ``student.safetensors``.
        figures: name, version, licence, defaults and measured quality.
        card: text for ``MODEL_CARD.md``; None writes a short one.
        with_teacher: whether the teacher goes in.

    Raises:
        InputError: if settings or card can't be read, a default is out of range, or codec, vocoder
            or licence are not known.
        BundleError: if a part is missing or damaged, or the folder can't be written.
    """
    settings = load_settings(DistillationSettings, str(run / "settings.yaml"))
    student = run / "student.safetensors"
    if not student.is_file():
        raise BundleError(f"{run} holds no student yet; run soundleap distill to its end")
    parts = find_teacher(
        settings.teacher, codec=settings.codec, vocoder=settings.vocoder, text=settings.text
    )
    filled = _filled(figures, settings, parts)
    with torch.device("meta"):
        rate: int = outline(_known(parts, "vocoder"), VOCODERS).config.mel.sampling_rate
    text = read_card(card)
    sampling = sampling_of(settings, filled, parts.sampling)
    with new_folder(out) as partial:
        files = {name: _copy(partial, name, _known(parts, name)) for name in ("codec", "vocoder")}
        files["student"] = _write_student(partial, student, _dtype(parts.network))
        if with_teacher:
            files["teacher"] = _copy(partial, "teacher", parts.network)
        encoder = hash_builtin_text() if parts.text is None else copy_text(partial, parts.text)
        manifest = Manifest(
            name=filled.name,
            version=filled.version,
            licence=filled.licence,
            sampling=sampling,
            provenance=_provenance(run, parts),
            quality=filled.quality,
            kind="default-family" if parts.bundle is None else parts.bundle.manifest.kind,
            sampling_rate=rate,
            parts=Parts(**files, text=encoder),
        )
        record = manifest.model_dump_json(indent=1) + "\n"
        (partial / MANIFEST_NAME).write_text(record, encoding="utf-8")
        (partial / CARD_NAME).write_text(text or _card(manifest, parts), encoding="utf-8")
    return Bundle(out)


def _filled(
    figures: StudentFigures, settings: DistillationSettings, parts: TeacherParts
) -> Figures:
    """Take from the teacher's model what is not said."""
    manifest = None if parts.bundle is None else parts.bundle.manifest
    name = figures.name or (f"{manifest.name}-student" if manifest else "student")
    licence = figures.licence or (manifest.licence if manifest else None)
    if licence is None:
        raise InputError(
            f"the teacher {parts.place} is a file by itself, whose licence is not known; give "
            "--licence, for the student's weights"
        )
    low, high = settings.cfg_range
    scale = figures.default_guidance_scale
    if scale is None:
        scale = min(max(parts.sampling.default_guidance_scale, low), high)
    return Figures(
        name, figures.version, licence, figures.default_steps, scale, dict(figures.quality)
    )


def _known(parts: TeacherParts, name: str) -> Path:
    path: Path | None = getattr(parts, name)
    if path is None:
        raise InputError(
            f"no {name} is known: the run's teacher is a file by itself and {name} was not given"
        )
    if not path.is_file():
        raise BundleError(f"{name} {path} does not exist")
    return path


def _copy(folder: Path, name: str, source: Path) -> Part:
    target = folder / f"{name}.safetensors"
    shutil.copyfile(source, target)
    return Part(file=target.name, dtype=_dtype(target), **dict(hash_file(target)))


def _dtype(path: Path) -> StoredType:
    """Give the type in which most of a file's numbers are stored."""
    with safe_open(path, framework="pt") as file:
        found = {file.get_slice(name).get_dtype() for name in file.keys()}
    return "float16" if "F16" in found else "float32"


def _write_student(folder: Path, source: Path, dtype: StoredType) -> Part:
    network: Any = load_network(source)
    path = folder / "student.safetensors"
    measured = write_tensors(
        path,
        network.state_dict(),
        asdict(network.config),
        dtype=getattr(torch, dtype),
        exact=_EXACT,
    )
    return Part(file=path.name, dtype=dtype, **dict(measured))


def _provenance(run: Path, parts: TeacherParts) -> dict[str, Any]:
    """Tell what made the student: its runs, its teacher, its cache, the networks that rewarded."""
    stages = _stages(run)
    found: dict[str, Any] = {
        "soundleap": __version__,
        "torch": torch.__version__.split("+")[0],
        "stages": {f"student-{n}": values for n, values in enumerate(reversed(stages), 1)},
        "teacher": {"network": hash_file(parts.network).sha256},
    }
    if parts.bundle is not None:
        manifest = parts.bundle.manifest
        told = ("name", "version", "licence", "fingerprint", "provenance")
        found["teacher"] |= {name: getattr(manifest, name) for name in told}
    rewards = rewards_of(run / "student.safetensors")
    return found | ({KEY: rewards} if rewards else {})


def _stages(run: Path) -> list[dict[str, Any]]:
    """Read the settings of a run and of those that it goes on from, the last first."""
    stages: list[dict[str, Any]] = []
    seen: set[Path] = set()
    path = run / "settings.yaml"
    while path.is_file() and path.resolve() not in seen:
        seen.add(path.resolve())
        values: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
        stages.append({key: shorten(key, value) for key, value in values.items()})
        start = values.get("start")
        if start is None:
            break
        path = Path(start).parent / "settings.yaml"
    return stages


def _card(manifest: Manifest, parts: TeacherParts) -> str:
    text = short_card(manifest)
    if parts.bundle is None:
        return text
    teacher = parts.bundle.manifest
    return text + (
        f"\nThe student was distilled from {teacher.name} {teacher.version} ({teacher.licence}), "
        "whose other parts are in here too: its licence holds for them, and may for the student.\n"
    )
