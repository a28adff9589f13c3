"""`soundleap evaluate`: generated clips against real ones; `merge` puts shards together."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from soundleap.cli.compare import compare
from soundleap.cli.protocols import make, protocol
from soundleap.errors import InputError

if TYPE_CHECKING:
    from soundleap.evaluation.record import EvaluationRecord

app = typer.Typer(add_completion=False, rich_markup_mode=None)

Paths = list[Path] | None
Names = list[str] | None


@app.callback(invoke_without_command=True)
def evaluate(
    context: typer.Context,
    generated: Annotated[
        Path | None, typer.Option(help="Folder of sound files, or manifest (JSONL), to be judged.")
    ] = None,
    reference: Annotated[
        Path | None, typer.Option(help="Folder or manifest of real recordings to compare with.")
    ] = None,
    captions: Annotated[
        Path | None, typer.Option(help="CSV, TSV or JSONL with id and caption of each clip.")
    ] = None,
    protocol: Annotated[
        str | None, typer.Option(help="Name or folder of a protocol, which fixes the rest.")
    ] = None,
    protocol_list: Annotated[
        Path | None, typer.Option("--list", help="Your copy of the protocol's list, if it asks.")
    ] = None,
    embedder: Annotated[
        Names,
        typer.Option(
            help="yamnet (default), aisfx, vggish, panns-cnn14-16k, panns-cnn14-32k, clap, ours; "
            "may be repeated."
        ),
    ] = None,
    weights: Annotated[
        Names,
        typer.Option(metavar="NAME=PATH", help="An embedder's weights; never downloaded."),
    ] = None,
    metric: Annotated[
        Names,
        typer.Option(
            help="fd, fd-pca64, fd-inf, kad, kid, kl, is, text-score, recall, density-coverage, "
            "accuracy; may be repeated. Default: all that apply."
        ),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(help="Label set for tag accuracy, e.g. esc10; rows need a `label`."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "--out", "-o", help="Folder for record, tables and report."),
    ] = None,
    resample: Annotated[
        bool, typer.Option("--resample", help="Convert other sampling rates, don't refuse them.")
    ] = False,
    max_seconds: Annotated[
        float | None, typer.Option(help="Cut longer clips after so many seconds.")
    ] = None,
    min_seconds: Annotated[float, typer.Option(help="Refuse shorter clips.")] = 0.0,
    level: Annotated[
        float | None, typer.Option(help="Scale every clip to this active level in dBFS.")
    ] = None,
    bootstrap: Annotated[
        int, typer.Option(help="Draws over clips for the intervals; 0: none.")
    ] = 100,
    seed: Annotated[int, typer.Option(help="Of those draws.")] = 0,
    shard: Annotated[
        str | None, typer.Option(metavar="I/N", help="Do only part I of N; then `merge`.")
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Folder for embeddings; default: the user's cache.")
    ] = None,
    device: Annotated[str, typer.Option(help="Torch device of the embedders.")] = "cpu",
    system: Annotated[
        Names,
        typer.Option(
            metavar="KEY=VALUE", help="About what is judged: name, num_inference_steps, ..."
        ),
    ] = None,
) -> None:
    """Measure distances, diversity, classes and fit to captions, with intervals."""
    if context.invoked_subcommand is not None:
        return
    if generated is None or reference is None:
        raise InputError("give --generated and --reference, or a sub-command (see --help)")
    _calm_threads()
    from soundleap.cli.evaluation_plan import make_plan

    plan = make_plan({**context.params, **_given(context)})
    plan.command = _command(context)
    if shard is not None:
        typer.echo(f"wrote {plan.run_shard()}")
        return
    _tell(plan.run(), output)


@app.command()
def merge(
    folders: Annotated[list[Path], typer.Argument(help="Folders that hold all shards.")],
    cache: Annotated[
        Path | None, typer.Option(help="Folder with their embeddings; default: FOLDER/cache.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "--out", "-o", help="Folder for the results.")
    ] = None,
) -> None:
    """Put the shards of an evaluation together and compute its numbers."""
    _calm_threads()
    from soundleap.evaluation.shards import merge_shards

    _tell(merge_shards(folders, cache or folders[0] / "cache"), output)


app.command("compare")(compare)
app.command("protocol")(protocol)
app.command("make")(make)


def _calm_threads() -> None:
    """Let numpy use one thread, unless the user says otherwise.

    The matrices are many and small: threads that wait for each other cost several times what they
    bring, most of all beside other work. It has to be said before numpy is imported.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def _tell(record: EvaluationRecord, output: Path | None) -> None:
    from soundleap.evaluation.record_io import write_record
    from soundleap.evaluation.summary import summarise

    typer.echo(summarise(record))
    if output is None:
        return
    from soundleap.evaluation.report import write_report

    for path in [*write_record(record, output), *write_report(record, output)]:
        typer.echo(f"wrote {path}")


def _given(context: typer.Context) -> dict[str, Any]:
    """Names of the options that the user gave."""
    told = [
        p.name
        for p in context.command.params
        if p.name and str(context.get_parameter_source(p.name)).endswith("COMMANDLINE")
    ]
    return {"given": told}


def _command(context: typer.Context) -> str:
    """Write the command line again."""
    words = ["soundleap", "evaluate"]
    for parameter in context.command.params:
        name, value = parameter.name, context.params.get(parameter.name or "")
        if name not in _given(context)["given"]:
            continue
        option = parameter.opts[0]
        for one in value if isinstance(value, list | tuple) else [value]:
            words += [option] if one is True else [option, str(one)]
    return shlex.join(words)
