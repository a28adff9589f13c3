"""`soundleap bundle`: the files that training left, as one model folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def bundle(
    out: Annotated[Path, typer.Argument(help="Folder to make; must not exist, or be empty.")],
    runs: Annotated[
        Path, typer.Option(help="Folder with the runs codec, vocoder, student and teacher.")
    ] = Path("runs/default"),
    student: Annotated[
        Path | None,
        typer.Option(
            help="Folder of one run of distill, of any family: the other parts are its teacher's."
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="Name of the model [default: default, or the teacher's with -student]."),
    ] = None,
    model_version: Annotated[str, typer.Option(help="Version of the weights.")] = "1",
    licence: Annotated[
        str | None,
        typer.Option(help="SPDX expression for the weights [Apache-2.0, or the teacher's]."),
    ] = None,
    card: Annotated[Path | None, typer.Option(help="Text for MODEL_CARD.md.")] = None,
    steps: Annotated[int, typer.Option(help="Default number of the student's queries.")] = 2,
    guidance: Annotated[
        float | None, typer.Option(help="Default guidance scale [3, or as the teacher's].")
    ] = None,
    quality: Annotated[
        list[str] | None, typer.Option(help="A measured figure, name=value; may be repeated.")
    ] = None,
    no_teacher: Annotated[bool, typer.Option("--no-teacher", help="Leave it out.")] = False,
) -> None:
    """Join codec, vocoder, student and teacher into a model folder.

    Either from a folder of runs of the default family (--runs), or from one run of distill of any
    family (--student), whose settings name the teacher.
    """
    from soundleap.errors import InputError
    from soundleap.training.assemble import Figures, assemble_bundle
    from soundleap.training.assemble_student import assemble_student

    figures: dict[str, float] = {}
    for text in quality or ():
        key, _, value = text.partition("=")
        try:
            figures[key] = float(value)
        except ValueError:
            raise InputError(f"quality {text!r} is not of the form name=number") from None
    said = Figures(name, model_version, licence, steps, guidance, figures)
    assemble, source = (assemble_bundle, runs) if student is None else (assemble_student, student)
    made = assemble(out, source, said, card=card, with_teacher=not no_teacher)
    size = made.manifest.size_in_bytes / 1e6
    typer.echo(f"{made.folder}: {', '.join(made.manifest.networks)}, {size:.1f} MB")
