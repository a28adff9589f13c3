"""`soundleap export`: models for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Write a model for other programs.",
)


@app.callback()
def export() -> None:
    """Write a model for other programs."""


@app.command()
def onnx(
    out: Annotated[Path, typer.Argument(help="Folder to make; must not exist, or be empty.")],
    model: Annotated[
        str | None, typer.Option(help="Name, folder or hub id (see `soundleap models`).")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing.")] = False,
) -> None:
    """Write the parts of a model as ONNX graphs, for `soundleap generate --engine onnx`.

    Needs the packages onnx, onnxscript and onnxruntime.
    """
    from soundleap.onnx.export import export_onnx
    from soundleap.resolve import open_model

    made = export_onnx(open_model(model), out, lambda name: None if quiet else typer.echo(name))
    if not quiet:
        size = sum(file.bytes for file in made.description.files.values()) / 1e6
        typer.echo(f"{made.folder}: {made.manifest.name}, {size:.0f} MB")
