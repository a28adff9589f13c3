"""`soundleap parity`: agreement with reference tensors of the published systems."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def parity(
    folder: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="Folder with NAME_SET.json and NAME_SET.safetensors."),
    ],
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME,...",
            help="Items, with or without their set; * is anything; may be repeated.",
        ),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Also write the result here.")
    ] = None,
) -> None:
    """Rebuild published systems from reference files, run them and compare every output."""
    from soundleap.parity.report import check_report_path, write_report
    from soundleap.parity.run import check_folder, summary

    if json_file is not None:
        check_report_path(json_file)
    names = [name for names in only or () for name in names.split(",") if name]
    rows = check_folder(folder, names, report=lambda row: typer.echo(row.line()))
    typer.echo(summary(rows))
    if json_file is not None:
        write_report(json_file, rows)
    if not all(row.passed for row in rows):
        raise typer.Exit(1)
