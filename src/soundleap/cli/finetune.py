"""`soundleap finetune`: own sounds to an adapter, in one command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from soundleap.errors import InputError

if TYPE_CHECKING:
    from soundleap.training.finetune_settings import FinetuneSettings


def finetune(
    sounds: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER_OR_MANIFEST",
            help="Sounds with captions: NAME.txt beside each, a .jsonl file, or their names.",
        ),
    ],
    model: Annotated[str, typer.Option(help="Name, folder or hub id.")] = "default",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The adapter's file.  [default: NAME.safetensors]"),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Of the adapter.  [default: that of FOLDER_OR_MANIFEST]")
    ] = None,
    iterations: Annotated[int, typer.Option(help="Steps of the whole run.")] = 600,
    minutes: Annotated[
        float | None, typer.Option(help="Stop after so long; the same command goes on.")
    ] = None,
    rank: Annotated[int, typer.Option(help="More learns more, and makes a larger file.")] = 16,
    learning_rate: Annotated[float, typer.Option(help="Highest.")] = 2e-3,
    keep: Annotated[
        float, typer.Option(help="How firmly other prompts keep their sounds; 0 lets go.")
    ] = 1.0,
    seed: Annotated[int, typer.Option(help="Of every random draw.")] = 0,
    threads: Annotated[int, typer.Option(help="Of the CPU.")] = 1,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
) -> None:
    """Teach a model your own sounds, 20 or more of them, and write a small adapter.

    Use it with `soundleap generate PROMPT --adapter FILE`, with prompts like the captions. What the
    run needs to go on, its settings and sample sounds are in a folder beside it, ending in .run.
    """
    from soundleap.cli.train import prepare_process, run_story

    prepare_process(dry_run=False, quiet=quiet)
    name = name or sounds.resolve().stem
    output = output or Path(f"{name}.safetensors")
    if output.suffix != ".safetensors":
        raise InputError(f"--output is {output}; its name must end in .safetensors")
    run_dir = output.with_suffix(".run")
    if output.exists() and not (run_dir / "settings.yaml").exists():
        raise InputError(f"{output} exists and is of no run in {run_dir}; choose another --output")
    settings = _settings(
        sounds, model, name, output, run_dir=str(run_dir), iterations=iterations,
        max_minutes=minutes, rank=rank, learning_rate=learning_rate, keep=keep, seed=seed,
        threads=threads,
    )  # fmt: skip
    from soundleap.data.own_sounds import find_sounds, read_sounds
    from soundleap.resolve import open_model
    from soundleap.training.finetune import FinetuneStory

    clips = read_sounds(find_sounds(sounds), open_model(model).manifest.sampling_rate)
    run_story(FinetuneStory(settings, clips, progress=not quiet), progress=not quiet)
    if not quiet:
        prompt = clips[0].captions[0]
        typer.echo(f'adapter: {output}  (soundleap generate "{prompt}" --adapter {output})')


def _settings(
    sounds: Path, model: str, name: str, output: Path, *, iterations: int, **values: object
) -> FinetuneSettings:
    """Settle everything, so that the same command means the same run."""
    from pydantic import ValidationError

    from soundleap.data.own_sounds import digest_sounds, find_sounds
    from soundleap.resolve import open_model
    from soundleap.training.finetune_settings import FinetuneSettings

    manifest = open_model(model).manifest
    part = getattr(manifest.parts, manifest.networks[0])
    both = len(manifest.networks) == 2
    alone = iterations if manifest.networks[0] == "teacher" else 0
    try:
        return FinetuneSettings(
            model=model,
            base=part.sha256,
            sounds=str(sounds),
            sounds_sha256=digest_sounds(find_sounds(sounds)),
            adapter=str(output),
            name=name,
            iterations=iterations,
            teacher_iterations=iterations // 2 if both else alone,
            **values,  # pyright: ignore[reportArgumentType]
        )
    except ValidationError as error:
        faults = "; ".join(fault["msg"].removeprefix("Value error, ") for fault in error.errors())
        raise InputError(faults) from None
