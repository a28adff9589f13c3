"""`soundleap show`: what a generated file says about itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def show(
    file: Annotated[Path, typer.Argument(help="A sound file made by Soundleap.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print the settings that a generated file carries."""
    from soundleap.audio.metadata import read_metadata

    metadata = read_metadata(file)
    if as_json:
        typer.echo(json.dumps(metadata, indent=1))
        return
    width = max((len(name) for name in metadata), default=0)
    for name, value in metadata.items():
        text = value if isinstance(value, str) else json.dumps(value)
        typer.echo(f"{name:<{width}}  {text}")
