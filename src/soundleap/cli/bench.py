"""`soundleap bench`: how fast a model is here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from soundleap.errors import unknown_name


def bench(
    model: Annotated[
        str | None, typer.Option(help="Name, folder or hub id (see `soundleap models`).")
    ] = None,
    network: Annotated[str, typer.Option(help="student or teacher.")] = "student",
    steps: Annotated[
        list[int] | None, typer.Option(help="Repeat for several.  [default: the network's own]")
    ] = None,
    batch: Annotated[
        list[int] | None,
        typer.Option(help="Sounds at once; repeat for several.  [default: 1 and 4]"),
    ] = None,
    duration: Annotated[float, typer.Option(help="Seconds of each sound.")] = 10.0,
    runs: Annotated[int, typer.Option(help="Measurements of each, after one to warm up.")] = 7,
    threads: Annotated[
        int | None, typer.Option(help="CPU threads.  [default: torch's choice]")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
    cold: Annotated[
        bool, typer.Option("--cold/--no-cold", help="Also measure the command in new processes.")
    ] = True,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Also write the report into this file.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file.")] = False,
) -> None:
    """Measure times, real-time factor, peak memory and cold start, as median and spread."""
    from soundleap.audio.names import check_writable
    from soundleap.bench.run import run_bench
    from soundleap.bench.settings import BenchSettings, as_tuple

    if network not in ("student", "teacher"):
        raise unknown_name("network", network, ("student", "teacher"))
    settings = BenchSettings(
        model=model,
        network=network,
        steps=as_tuple(steps, ()),
        batch_sizes=as_tuple(batch, BenchSettings.batch_sizes),
        duration_in_s=duration,
        runs=runs,
        threads=threads,
        device=device,
        cold=cold,
    )
    if json_file is not None:
        check_writable([json_file], overwrite=overwrite)
    report = run_bench(settings)
    typer.echo(report.to_table())
    if json_file is not None:
        report.write(json_file)
        typer.echo(f"wrote {json_file}")
