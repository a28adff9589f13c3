"""`soundleap show`: what a generated file, or an adapter, says about itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer


def show(
    file: Annotated[
        Path, typer.Argument(help="A sound file made by Soundleap, or an adapter (.safetensors).")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print the settings that a generated file or an adapter carries."""
    metadata = _facts(file)
    if as_json:
        typer.echo(json.dumps(metadata, indent=1))
        return
    width = max((len(name) for name in metadata), default=0)
    for name, value in metadata.items():
        text = value if isinstance(value, str) else json.dumps(value)
        typer.echo(f"{name:<{width}}  {text}")


def _facts(file: Path) -> dict[str, Any]:
    if file.suffix == ".safetensors":
        from soundleap.models.lora import read_adapter

        adapter = read_adapter(file)
        return {**adapter.info.model_dump(mode="json"), **adapter.file.model_dump()}
    from soundleap.audio.metadata import read_metadata

    return read_metadata(file)
