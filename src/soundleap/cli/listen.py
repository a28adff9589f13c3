"""`soundleap listen`: a blind listening page for two systems, and the statistics of its answers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

PAGE = "page"


class PageByDefault(TyperGroup):
    """A group whose first command is meant where none is named: `soundleap listen A B`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the command's name in front where it is missing."""
        if args and args[0] not in (*self.commands, "-h", "--help"):
            args = [PAGE, *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=PageByDefault,
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Compare two systems by ear: `listen A B` makes a page, `listen stats` reads its answers.",
)


@app.command(PAGE)
def page(
    one: Annotated[Path, typer.Argument(metavar="A", help="Folder or manifest of sounds.")],
    two: Annotated[Path, typer.Argument(metavar="B", help="The same of another system.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The page.")] = Path("listen.html"),
    name_a: Annotated[str | None, typer.Option(help="Name of A.  [default: its folder]")] = None,
    name_b: Annotated[str | None, typer.Option(help="Name of B.  [default: its folder]")] = None,
    trials: Annotated[
        int | None, typer.Option(help="Pairs to hear, drawn at random.  [default: all]")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the draw, the order and the sides.")] = 0,
    question: Annotated[
        str | None, typer.Option(help="What listeners answer.  [default: which they prefer]")
    ] = None,
    audio_format: Annotated[
        str, typer.Option("--format", help="flac or wav (lossless), or mp3 (small).")
    ] = "flac",
    megabytes: Annotated[float, typer.Option(help="Largest page.")] = 200.0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file.")] = False,
) -> None:
    """Make a blind listening page: one file that works offline.

    Sounds of the same file name (or manifest id) are paired and brought to one loudness.
    """
    from soundleap.errors import InputError
    from soundleap.evaluation.listen import make_listening_test

    if (name_a is None) != (name_b is None):
        raise InputError("give both --name-a and --name-b, or neither")
    names = (name_a, name_b) if name_a is not None and name_b is not None else None
    made = make_listening_test(
        one,
        two,
        output,
        names=names,
        trials=trials,
        seed=seed,
        question=question,
        format=audio_format,
        megabytes=megabytes,
        overwrite=overwrite,
    )
    typer.echo(
        f"{made.page}: {made.trials} pairs of {made.names[0]} and {made.names[1]}, "
        f"seed {made.seed}, {made.megabytes:.1f} MB"
    )
    _tell("only one side has", made.unpaired)
    _tell("lengths differ, which listeners may notice", made.lengths_differ)


@app.command()
def stats(
    files: Annotated[list[Path], typer.Argument(help="CSV files that the page gave.")],
) -> None:
    """Count wins and ties of the answers, with intervals and tests."""
    from soundleap.evaluation.listen_stats import listening_stats, read_answers

    typer.echo(listening_stats(read_answers(files)).to_markdown(), nl=False)


def _tell(what: str, names: tuple[str, ...]) -> None:
    if names:
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        typer.echo(f"{what}: {', '.join(names[:3])}{more}")
