"""`soundleap bench`: how fast a model is here, and what an iteration of distillation costs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from soundleap.errors import unknown_name

app = typer.Typer(rich_markup_mode=None, invoke_without_command=True)


@app.callback()
def bench(
    context: typer.Context,
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
    family: Annotated[
        str | None,
        typer.Option(help="Measure a published system's size with random weights: its name."),
    ] = None,
    duration: Annotated[
        float | None,
        typer.Option(help="Seconds of each sound.  [default: 10; with --family its own]"),
    ] = None,
    runs: Annotated[
        int | None,
        typer.Option(help="Measurements of each, after one to warm up.  [default: 7; family: 3]"),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="CPU threads.  [default: torch's choice]")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
    dtype: Annotated[str | None, typer.Option(help="float32 or bfloat16.")] = None,
    low_memory: Annotated[
        bool, typer.Option("--low-memory", help="Keep only the part at work in memory.")
    ] = False,
    solver: Annotated[str | None, typer.Option(help="Of the teacher.")] = None,
    cold: Annotated[
        bool | None,
        typer.Option(
            "--cold/--no-cold",
            help="Also measure the command in new processes.  [default: not with --family]",
        ),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Also write the report into this file.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file.")] = False,
) -> None:
    """Measure times, real-time factor, peak memory and cold start, as median and spread."""
    if context.invoked_subcommand is not None:
        return
    from soundleap.audio.names import check_writable
    from soundleap.bench.run import run_bench
    from soundleap.bench.settings import BenchSettings, as_tuple

    if network not in ("student", "teacher"):
        raise unknown_name("network", network, ("student", "teacher"))
    settings = BenchSettings(
        model=model,
        family=family,
        network=network,
        steps=as_tuple(steps, ()),
        batch_sizes=as_tuple(batch, BenchSettings.batch_sizes if family is None else (1,)),
        duration_in_s=10.0 if family is None and duration is None else duration,
        runs=runs if runs is not None else (7 if family is None else 3),
        threads=threads,
        device=device,
        cold=family is None if cold is None else cold,
        dtype=dtype,
        low_memory=low_memory,
        solver=solver,  # pyright: ignore[reportArgumentType]
    )
    if json_file is not None:
        check_writable([json_file], overwrite=overwrite)
    report = run_bench(settings)
    typer.echo(report.to_table())
    if json_file is not None:
        report.write(json_file)
        typer.echo(f"wrote {json_file}")


@app.command()
def distill(
    families: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FAMILY]...",
            help="default, consistencytta (both stages), audiolcm, or one case such as "
            "consistencytta-stage2.  [default: all]",
        ),
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Clips of ten seconds in a step.")] = 1,
    threads: Annotated[
        int | None, typer.Option(help="CPU threads.  [default: torch's choice]")
    ] = None,
    dtype: Annotated[
        str, typer.Option(help="float32, or bfloat16: mixed precision, the teacher stored so.")
    ] = "float32",
    iterations: Annotated[
        int, typer.Option(help="Measurements of each, after one to warm up.")
    ] = 3,
    checkpointing: Annotated[
        bool,
        typer.Option("--checkpointing", help="Recompute the student's activations: less memory."),
    ] = False,
    reduced: Annotated[
        bool,
        typer.Option(
            "--reduced",
            help="Share weights; measure AdamW and averages apart: the same times in less memory.",
        ),
    ] = False,
    stock: Annotated[
        bool, typer.Option("--stock", help="Also time the plain formulation, in turn with ours.")
    ] = False,
    size: Annotated[str, typer.Option(help="published, or tiny to try this out.")] = "published",
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Also write the report into this file.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file.")] = False,
) -> None:
    """Measure an iteration of distillation by stage, and its peak memory; random weights."""
    from soundleap.audio.names import check_writable
    from soundleap.bench.distill import run_distill_bench
    from soundleap.bench.distill_settings import DistillBenchSettings, cases_of

    settings = DistillBenchSettings(
        cases=cases_of(families or ()),
        batch_size=batch_size,
        iterations=iterations,
        threads=threads,
        dtype=dtype,  # pyright: ignore[reportArgumentType]
        checkpointing=checkpointing,
        reduced=reduced,
        stock=stock,
        size=size,  # pyright: ignore[reportArgumentType]
    )
    if json_file is not None:
        check_writable([json_file], overwrite=overwrite)
    report = run_distill_bench(settings, lambda line: typer.echo(line, err=True))
    typer.echo(report.to_table())
    if json_file is not None:
        report.write(json_file)
        typer.echo(f"wrote {json_file}")
