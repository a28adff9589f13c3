"""The `soundleap` command; sub-commands are imported when they are called."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from soundleap._version import __version__
from soundleap.errors import InputError, SoundleapError

COMMANDS = {
    "generate": "generate:generate",
    "batch": "batch:batch",
    "search": "search:search",
    "show": "show:show",
    "models": "models:models",
    "import": "import_:import_model",
    "data": "data:app",
    "train": "train:app",
    "distill": "train:distill",
    "finetune": "finetune:finetune",
    "bundle": "bundle:bundle",
    "export": "export:app",
    "evaluate": "evaluate:app",
    "listen": "listen:app",
    "serve": "serve:serve",
    "bench": "bench:app",
    "study": "study:app",
    "parity": "parity:parity",
}
"""Sub-commands: the module in `soundleap.cli` and the name in it."""

INTERRUPTED = 130


class _Interrupted(BaseException):
    """Ctrl-C inside a sub-command; Typer would end without a word."""


class LazyGroup(TyperGroup):
    """A group of commands that are imported when they are needed."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Name the commands whose modules are there."""
        return [name for name, place in COMMANDS.items() if find_spec(_module(place)) is not None]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import a command; None for one that is not there."""
        if cmd_name not in self.list_commands(ctx):
            return None
        place = COMMANDS[cmd_name]
        found = getattr(import_module(_module(place)), place.partition(":")[2], None)
        if isinstance(found, typer.Typer):
            command = typer.main.get_group(found)
        elif found is None:
            return None
        else:
            single = typer.Typer(add_completion=False, rich_markup_mode=None)
            single.command(cmd_name)(found)
            command = typer.main.get_command(single)
        command.name = cmd_name
        return command

    def invoke(self, ctx: Any) -> Any:
        """Run a sub-command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise _Interrupted from None


app = typer.Typer(
    cls=LazyGroup,
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"soundleap {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show it.")
    ] = False,
) -> None:
    """Text in, sound out, in one to four network queries."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: without the program's name; None takes those of the process.

    Returns:
        The exit code: 0; 2 for wrong input; 1 for another failure; 130 after Ctrl-C.
    """
    try:
        command = typer.main.get_command(app)
        command.main(None if arguments is None else list(arguments), prog_name="soundleap")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except (_Interrupted, KeyboardInterrupt):
        print("soundleap: stopped", file=sys.stderr)
        return INTERRUPTED
    except SoundleapError as error:
        message = " ".join(str(error).split())
        print(f"soundleap: {message}", file=sys.stderr)
        return 2 if isinstance(error, InputError) else 1
    return 0


def _module(place: str) -> str:
    return f"soundleap.cli.{place.partition(':')[0]}"
