"""`soundleap evaluate`: generated clips against real ones."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def evaluate(
    generated: Annotated[
        Path, typer.Option(help="Folder of sound files, or manifest (JSONL), to be judged.")
    ],
    reference: Annotated[
        Path, typer.Option(help="Folder or manifest of real recordings to compare with.")
    ],
    labels: Annotated[
        str | None,
        typer.Option(help="Label set for tag accuracy, e.g. esc10; rows need a `label`."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for evaluation.json, .md and clips.jsonl."),
    ] = None,
    resample: Annotated[
        bool, typer.Option("--resample", help="Convert other sampling rates, don't refuse them.")
    ] = False,
) -> None:
    """Measure Fréchet distances (YAMNet embeddings) and tag accuracy."""
    from soundleap.evaluation.report import write_report
    from soundleap.evaluation.run import evaluate_sets

    report = evaluate_sets(generated, reference, label_set=labels, resample=resample)
    typer.echo(report.to_markdown())
    for path in write_report(report, output) if output else []:
        typer.echo(f"wrote {path}")
