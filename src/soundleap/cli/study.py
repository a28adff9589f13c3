"""`soundleap study`: what solver, steps and guidance buy, measured on a model."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from soundleap.bundle_schema import NetworkName
    from soundleap.studies.ground import Ground
    from soundleap.studies.judging import Judges

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Measure what a choice buys; the same command resumes.",
)

Output = Annotated[Path, typer.Option("--output", "-o", help="Folder of the study.")]
Model = Annotated[str | None, typer.Option(help="Name, folder or hub id (see `soundleap models`).")]
Prompts = Annotated[int, typer.Option(help="How many held-out captions are asked.")]
Duration = Annotated[float, typer.Option(help="Seconds of each sound.")]
Guidance = Annotated[float | None, typer.Option(help="1 is none.  [default: the model's own]")]
Seed = Annotated[int, typer.Option(help="Of the first sample; the others count up.")]
Threads = Annotated[int | None, typer.Option(help="CPU threads.  [default: torch's choice]")]
Reference = Annotated[
    Path | None,
    typer.Option(help="Manifest of the real recordings (see docs); without: no quality."),
]
Clips = Annotated[
    int | None, typer.Option(help="Only so many clips of soundleap-heldout, evenly spread.")
]
Bootstrap = Annotated[int, typer.Option(help="Draws for the judges' intervals; 0: none.")]
NoPlot = Annotated[bool, typer.Option("--no-plot", help="Write no picture.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]


@app.command()
def solver(
    output: Output,
    model: Model = None,
    grid: Annotated[
        list[str] | None,
        typer.Option(
            help="audiolcm, consistencytta, default-near or default-far; may be repeated.  "
            "[default: all]"
        ),
    ] = None,
    prompts: Prompts = 6,
    levels: Annotated[int, typer.Option(help="Intervals of each grid, evenly spread.")] = 8,
    reference_steps: Annotated[
        int, typer.Option(help="Heun steps of the reference in an interval.")
    ] = 32,
    duration: Duration = 4.0,
    guidance: Guidance = None,
    seed: Seed = 0,
    threads: Threads = None,
    no_plot: NoPlot = False,
    quiet: Quiet = False,
) -> None:
    """Jump or walk: the solver's error over intervals against teacher queries."""
    from soundleap.studies.errors import GRIDS
    from soundleap.studies.plots import plot_solver
    from soundleap.studies.solver import SolverPlan, study_solver
    from soundleap.studies.tables import solver_markdown
    from soundleap.studies.writing import write_result

    plan = SolverPlan(tuple(grid or GRIDS), levels, reference_steps)
    ground = _ground(model, ("teacher",), prompts, duration, guidance, seed)
    with _threads(threads), _bar(len(plan.grids) * prompts, quiet) as advance:
        result = study_solver(ground, plan, output, on_cell=advance)
    _tell(write_result(output, "solver", result, solver_markdown, None if no_plot else plot_solver))


@app.command()
def students(
    output: Output,
    cache: Annotated[Path, typer.Option(help="Latent cache to train on (`soundleap data cache`).")],
    model: Model = None,
    iterations: Annotated[
        int, typer.Option(help="n: walk n, heun n and 2n, jump n, 2n and 4n iterations.")
    ] = 100,
    batch_size: Annotated[int, typer.Option(help="Latent vectors an iteration.")] = 640,
    skip_points: Annotated[int, typer.Option(help="Grid points an interval crosses.")] = 10,
    prompts: Prompts = 24,
    duration: Duration = 4.0,
    guidance: Guidance = None,
    seed: Seed = 0,
    no_plot: NoPlot = False,
    quiet: Quiet = False,
) -> None:
    """What the solver's error does to a student: jump, Heun and walk at equal cost."""
    from soundleap.cli.train import prepare_process
    from soundleap.studies.plots import plot_students
    from soundleap.studies.students import StudentsPlan, study_students
    from soundleap.studies.tables import students_markdown
    from soundleap.studies.writing import write_result

    plan = StudentsPlan(str(cache), iterations, batch_size, skip_points)
    prepare_process(dry_run=False, quiet=quiet)
    ground = _ground(model, ("teacher",), prompts, duration, guidance, seed)
    result = study_students(ground, plan, output, progress=not quiet)
    plot = None if no_plot else plot_students
    _tell(write_result(output, "students", result, students_markdown, plot))


@app.command()
def steps(
    output: Output,
    model: Model = None,
    reference: Reference = None,
    clips: Clips = None,
    step: Annotated[
        list[int] | None,
        typer.Option(help="Queries of the student; may be repeated.  [default: 1, 2, 4, 8]"),
    ] = None,
    teacher_steps: Annotated[int, typer.Option(help="0 leaves the teacher out.")] = 25,
    prompts: Prompts = 24,
    duration: Duration = 4.0,
    guidance: Guidance = None,
    seed: Seed = 0,
    bootstrap: Bootstrap = 100,
    threads: Threads = None,
    no_plot: NoPlot = False,
    quiet: Quiet = False,
) -> None:
    """One query or more: quality, agreement between step counts, time."""
    _calm_threads()
    from soundleap.studies.plots import plot_steps
    from soundleap.studies.steps import StepsPlan, study_steps
    from soundleap.studies.tables import steps_markdown
    from soundleap.studies.writing import write_result

    plan = StepsPlan(tuple(step or (1, 2, 4, 8)), teacher_steps or None)
    needs: tuple[NetworkName, ...] = ("student", "teacher") if teacher_steps else ("student",)
    ground = _ground(model, needs, prompts, duration, guidance, seed)
    judges = _judges(ground, output, reference, clips, bootstrap)
    total = len(plan.systems(ground.guidance_scale)) + 3
    with _threads(threads), _bar(total, quiet) as advance:
        result = study_steps(ground, plan, judges, output, on_cell=advance)
    _tell(write_result(output, "steps", result, steps_markdown, None if no_plot else plot_steps))


@app.command("guidance")
def guidance_(
    output: Output,
    model: Model = None,
    reference: Reference = None,
    clips: Clips = None,
    scale: Annotated[
        list[float] | None,
        typer.Option(help="Guidance scale; may be repeated.  [default: 1 to 8]"),
    ] = None,
    steps: Annotated[int, typer.Option(help="Queries of the student for the sounds.")] = 2,
    prompts: Prompts = 24,
    duration: Duration = 4.0,
    seed: Seed = 0,
    bootstrap: Bootstrap = 100,
    threads: Threads = None,
    no_plot: NoPlot = False,
    quiet: Quiet = False,
) -> None:
    """Guidance as an input of the student against guidance of its answers by two queries."""
    _calm_threads()
    from soundleap.studies.guidance import GuidancePlan, study_guidance
    from soundleap.studies.plots import plot_guidance
    from soundleap.studies.tables import guidance_markdown
    from soundleap.studies.writing import write_result

    plan = GuidancePlan(tuple(scale or GuidancePlan.scales), steps)
    ground = _ground(model, ("student", "teacher"), prompts, duration, None, seed)
    judges = _judges(ground, output, reference, clips, bootstrap)
    with _threads(threads), _bar(len(plan.systems()), quiet) as advance:
        result = study_guidance(ground, plan, judges, output, on_cell=advance)
    plot = None if no_plot else plot_guidance
    _tell(write_result(output, "guidance", result, guidance_markdown, plot))


def _calm_threads() -> None:
    """Let numpy use one thread, as `soundleap evaluate` does; before numpy is imported."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def _judges(
    ground: Ground, output: Path, reference: Path | None, clips: int | None, bootstrap: int
) -> Judges:
    from soundleap.studies.judging import Judges, part_of_protocol

    protocol = part_of_protocol(clips)
    return Judges(ground.pipeline, protocol, output / "sounds", reference, bootstrap)


def _ground(
    model: str | None,
    needs: Sequence[NetworkName],
    prompts: int,
    duration: float,
    guidance: float | None,
    seed: int,
) -> Ground:
    from soundleap.studies.ground import held_out_prompts, open_ground

    captions = held_out_prompts(prompts)
    return open_ground(
        model, needs, captions, duration_in_s=duration, guidance_scale=guidance, seed=seed
    )


@contextmanager
def _threads(threads: int | None) -> Generator[None]:
    from soundleap.bench.machine import use_threads

    with use_threads(threads):
        yield


@contextmanager
def _bar(total: int, quiet: bool) -> Generator[Callable[[], None]]:
    from tqdm import tqdm

    bar: Any = tqdm(total=total, unit="cell", disable=True if quiet else None)
    with bar:
        yield lambda: bar.update()


def _tell(paths: Sequence[Path]) -> None:
    for path in paths:
        typer.echo(f"wrote {path}")
