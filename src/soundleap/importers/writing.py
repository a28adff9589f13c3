"""From a plan to a model folder, one tensor after another."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from soundleap._version import __version__
from soundleap.bundle import hash_file
from soundleap.bundle_schema import FileHash, Manifest, Part, Parts, TextPart
from soundleap.bundle_writer import write_manifest
from soundleap.importers.archive import check_space
from soundleap.importers.licences import LICENCES, TERMS, expression, limits
from soundleap.importers.plan import PartPlan, Plan, StoredType
from soundleap.importers.sources import Watch
from soundleap.models.tensor_file import stored_size, write_tensors

WEIGHTS_FILE, CONFIG_FILE = "model.safetensors", "config.json"
_RELEASE = 32 << 20
"""Bytes after which the memory of what was read is given back."""


def write_plan(
    folder: Path, plan: Plan, dtype: StoredType, sources: list[dict[str, Any]], watch: Watch
) -> None:
    """Write all files of a bundle into a folder that exists.

    Args:
        folder: not the final one; the caller renames it.
        plan: what to write.
        dtype: how floating-point weights are stored.
        sources: records of the files read, for the provenance.
        watch: shows progress.

    Raises:
        BundleError: if there is not enough space, or a tensor is not finite.
    """
    size = planned_size(plan, dtype)
    check_space(folder, size, "the bundle")
    with watch("writing", size) as advance:
        count = _counter(plan, advance)
        files = {part.name: _write_part(folder, part, dtype, count) for part in plan.parts}
        text = _write_text(folder / "text", plan, dtype, count)
    vocoder = next(part.config for part in plan.parts if part.name == "vocoder")
    manifest = Manifest(
        name=plan.name,
        version=plan.version,
        licence=expression(plan.family),
        sampling=plan.sampling,
        provenance=_provenance(plan, sources),
        kind=plan.family,
        sampling_rate=vocoder.mel.sampling_rate,
        parts=Parts(**files, text=text),
    )
    write_manifest(folder, manifest, model_card(manifest, sources))


def planned_size(plan: Plan, dtype: StoredType) -> int:
    """Give the bytes of all numbers of a bundle."""
    stored: torch.dtype = getattr(torch, dtype)
    parts = sum(stored_size(part.state, stored, part.exact) for part in plan.parts)
    return parts + stored_size(plan.text.state, stored)


def model_card(manifest: Manifest, sources: list[dict[str, Any]]) -> str:
    """Write the text of an imported bundle's ``MODEL_CARD.md``."""
    family = manifest.kind
    lines = [f"# {manifest.name} {manifest.version}", ""]
    for line in limits(family):
        lines += [f"**{line}**", ""]
    lines += [
        f"Weights of {LICENCES[family][0].what}, published by its authors, in Soundleap's form. "
        f"Networks: {', '.join(manifest.networks)}. Sounds of "
        f"{manifest.sampling.min_duration_in_s:g} to {manifest.sampling.max_duration_in_s:g} s "
        f"at {manifest.sampling_rate} Hz from text.",
        "",
        "## Licences",
        "",
    ]
    for licence in LICENCES[family]:
        lines.append(f"- {licence.what}: {licence.name}, after the {licence.source}.")
        lines.append(f"  In short: {TERMS[licence.name]}.")
    lines += ["", "The licences' own texts decide.", "", "## Converted from", ""]
    lines += [f"- `{x['file']}`, {x['bytes']:,} bytes, SHA-256 `{x['sha256']}`" for x in sources]
    return "\n".join(lines) + "\n"


def _write_part(
    folder: Path, part: PartPlan, dtype: StoredType, written: Callable[[int], None]
) -> Part:
    path = folder / f"{part.name}.safetensors"
    measured = write_tensors(
        path,
        part.state,
        asdict(part.config),
        dtype=getattr(torch, dtype),
        exact=part.exact,
        written=written,
    )
    return Part(file=path.name, dtype=dtype, **dict(measured))


def _write_text(
    folder: Path, plan: Plan, dtype: StoredType, written: Callable[[int], None]
) -> TextPart:
    folder.mkdir()
    files: dict[str, FileHash] = {}
    config = json.dumps(asdict(plan.text.config), indent=1) + "\n"
    for name, text in {CONFIG_FILE: config, **plan.text.texts}.items():
        (folder / name).write_text(text, encoding="utf-8")
        files[name] = hash_file(folder / name)
    stored = getattr(torch, dtype)
    path = folder / WEIGHTS_FILE
    files[WEIGHTS_FILE] = write_tensors(path, plan.text.state, dtype=stored, written=written)
    return TextPart(folder=folder.name, files=files)


def _counter(plan: Plan, advance: Callable[[int], None]) -> Callable[[int], None]:
    held = 0

    def count(size: int) -> None:
        nonlocal held
        advance(size)
        held += size
        if held >= _RELEASE:
            plan.release()
            held = 0

    return count


def _provenance(plan: Plan, sources: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "imported": sources,
        **plan.facts,
        "versions": {"soundleap": __version__, "torch": torch.__version__},
    }
