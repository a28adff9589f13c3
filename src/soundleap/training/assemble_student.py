"""From a finished distillation of any family to a model folder, with the teacher's own parts."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import safe_open

from soundleap.bundle import Bundle, hash_file
from soundleap.bundle_schema import Description, Manifest, Part, Parts
from soundleap.bundle_writer import (
    StoredType,
    new_folder,
    save_part,
    save_text,
    short_card,
    write_manifest,
)
from soundleap.errors import BundleError, InputError
from soundleap.models.registry import VOCODERS, load_network, outline
from soundleap.training.assemble import Figures, made_by, read_card, sampling_of, stage_of
from soundleap.training.distillation_settings import DistillationSettings
from soundleap.training.settings import load_settings
from soundleap.training.teacher_parts import TeacherParts, find_teacher


def assemble_student(
    out: Path,
    run: Path,
    figures: Figures,
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
    with torch.device("meta"):
        rate: int = outline(_known(parts, "vocoder"), VOCODERS).config.mel.sampling_rate
    text = read_card(card)
    description = Description(
        **_named(figures, parts),
        version=figures.version,
        sampling=sampling_of(settings, figures, parts.sampling),
        provenance=_provenance(run, parts),
        quality=figures.quality,
    )
    with new_folder(out) as partial:
        files = {name: _copy(partial, name, _known(parts, name)) for name in ("codec", "vocoder")}
        dtype = _dtype(parts.network)
        files["student"] = save_part(partial, "student", load_network(student), dtype)
        if with_teacher:
            files["teacher"] = _copy(partial, "teacher", parts.network)
        manifest = Manifest(
            **dict(description),
            kind="default-family" if parts.bundle is None else parts.bundle.manifest.kind,
            sampling_rate=rate,
            parts=Parts(**files, text=save_text(partial, parts.text)),
        )
        write_manifest(partial, manifest, _card(manifest, parts) if text is None else text)
    return Bundle(out)


def _named(figures: Figures, parts: TeacherParts) -> dict[str, str]:
    """Give name and licence; those of the teacher's model where they are not said."""
    manifest = None if parts.bundle is None else parts.bundle.manifest
    licence = figures.licence or (manifest and manifest.licence)
    if licence is None:
        raise InputError(
            f"the teacher {parts.place} is a file by itself, whose licence is not known; give "
            "--licence, for the student's weights"
        )
    name = figures.name or (f"{manifest.name}-student" if manifest else "student")
    return {"name": name, "licence": licence}


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


def _provenance(run: Path, parts: TeacherParts) -> dict[str, Any]:
    """Tell what made the student: its runs, its teacher, the networks that rewarded."""
    teacher: dict[str, Any] = {"network": hash_file(parts.network).sha256}
    if parts.bundle is not None:
        told = ("name", "version", "licence", "fingerprint", "provenance")
        teacher |= {name: getattr(parts.bundle.manifest, name) for name in told}
    stages = {f"student-{n}": stage for n, stage in enumerate(reversed(_stages(run)), 1)}
    return made_by(stages, run / "student.safetensors") | {"teacher": teacher}


def _stages(run: Path) -> list[dict[str, Any]]:
    """Read the settings of a run and of those that it goes on from, the last first."""
    paths: list[Path] = []
    path = run / "settings.yaml"
    while path.is_file() and path.resolve() not in paths:
        paths.append(path.resolve())
        start = yaml.safe_load(path.read_text(encoding="utf-8")).get("start")
        if start is None or not Path(start).is_file():  # or a model, whose runs are not here
            break
        path = Path(start).parent / "settings.yaml"
    return [stage_of(path) for path in paths]


def _card(manifest: Manifest, parts: TeacherParts) -> str:
    text = short_card(manifest)
    if parts.bundle is None:
        return text
    teacher = parts.bundle.manifest
    return text + (
        f"\nThe student was distilled from {teacher.name} {teacher.version} ({teacher.licence}), "
        "whose other parts are in here too: its licence holds for them, and may for the student.\n"
    )
