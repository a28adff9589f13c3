"""`soundleap evaluate compare`: systems side by side on one protocol."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def compare(
    results: Annotated[
        list[Path],
        typer.Argument(metavar="A B [C...]", help="Folders that `soundleap evaluate` wrote."),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for comparison.html, .md and .json."),
    ] = None,
    megabytes: Annotated[float, typer.Option(help="Most of all sounds in the page.")] = 24.0,
    shown: Annotated[int, typer.Option(help="Captions whose sounds are side by side.")] = 6,
) -> None:
    """Put systems side by side; numbers of different protocols are refused."""
    from soundleap.evaluation.compare import compare_records
    from soundleap.evaluation.compare_report import comparison_markdown, write_comparison
    from soundleap.evaluation.record_io import read_record

    comparison = compare_records([read_record(place) for place in results])
    typer.echo(comparison_markdown(comparison), nl=False)
    if output is not None:
        for path in write_comparison(comparison, output, audio_megabytes=megabytes, shown=shown):
            typer.echo(f"wrote {path}")
