"""Writing a loaded model back into a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from soundleap.bundle import Bundle
from soundleap.bundle_schema import CARD_NAME, Description
from soundleap.bundle_writer import BundleParts, save_bundle
from soundleap.errors import InputError

if TYPE_CHECKING:
    from soundleap.pipeline import TextToAudio


def save_pipeline(pipeline: TextToAudio, folder: str | Path) -> Bundle:
    """Write a model as it is in memory; see `TextToAudio.save_pretrained`.

    Raises:
        InputError: if the folder exists and is not empty, or the model runs in bfloat16.
        BundleError: if it can't be written.
    """
    if pipeline.dtype != "float32":
        raise InputError(f"this model runs in {pipeline.dtype}; load it as float32 to save it")
    manifest = pipeline.manifest
    networks = {name: pipeline.network(name) for name in manifest.networks}
    stored = manifest.parts
    card = pipeline.bundle.folder / CARD_NAME
    described = {name: getattr(manifest, name) for name in Description.model_fields}
    if pipeline.adapters:
        merged = [*manifest.provenance.get("adapters", []), *pipeline.adapters]
        described["provenance"] = {**manifest.provenance, "adapters": merged}
    return save_bundle(
        folder,
        BundleParts(
            pipeline.codec,
            networks.get("student"),
            networks.get("teacher"),
            pipeline.bundle.text_folder,
        ),
        Description(**described),
        model_card=card.read_text(encoding="utf-8") if card.exists() else None,
        dtypes={name: getattr(stored, name).dtype for name in ("codec", "vocoder", *networks)},
        kind=manifest.kind,
    )
