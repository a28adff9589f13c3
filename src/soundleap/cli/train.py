"""`soundleap train` and `soundleap distill`: a preset, changed by ``key=value``, and its stage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from soundleap.training.settings import Settings
    from soundleap.training.story import Story

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Train codec, vocoder, teacher or text-audio model.",
)

UNFINISHED = 75
"""Exit code of a run that its time limit ended: the same command goes on."""
STOPPED = 130

Preset = Annotated[str, typer.Argument(help="Name of a preset, or path of a YAML file.")]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings to change.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the settings as YAML, do nothing.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]


@app.command()
def codec(
    preset: Preset, overrides: Overrides = None, dry_run: DryRun = False, quiet: Quiet = False
) -> None:
    """Fit the latent codec in closed form; a preset of stage `vae` trains a learnt one."""
    prepare_process(dry_run=dry_run, quiet=quiet)
    from soundleap.training.codec import CodecSettings, fit_codec
    from soundleap.training.settings import preset_stage, stage_name
    from soundleap.training.vae import VAESettings, VAEStory

    if preset_stage(preset) == stage_name(VAESettings):
        learnt = resolve(VAESettings, preset, overrides, dry_run=dry_run)
        run_story(VAEStory(learnt, progress=not quiet), progress=not quiet)
        return
    settings = resolve(CodecSettings, preset, overrides, dry_run=dry_run)
    typer.echo(f"codec: {fit_codec(settings, progress=not quiet)}")


@app.command()
def vocoder(
    preset: Preset, overrides: Overrides = None, dry_run: DryRun = False, quiet: Quiet = False
) -> None:
    """Train the vocoder; the same command resumes."""
    prepare_process(dry_run=dry_run, quiet=quiet)
    from soundleap.training.vocoder import VocoderSettings, VocoderStory

    settings = resolve(VocoderSettings, preset, overrides, dry_run=dry_run)
    run_story(VocoderStory(settings, progress=not quiet), progress=not quiet)


@app.command()
def teacher(
    preset: Preset, overrides: Overrides = None, dry_run: DryRun = False, quiet: Quiet = False
) -> None:
    """Train the diffusion teacher on cached latents; the same command resumes."""
    prepare_process(dry_run=dry_run, quiet=quiet)
    from soundleap.training.teacher import TeacherSettings, TeacherStory

    settings = resolve(TeacherSettings, preset, overrides, dry_run=dry_run)
    run_story(TeacherStory(settings, progress=not quiet), progress=not quiet)


@app.command()
def clap(
    preset: Preset, overrides: Overrides = None, dry_run: DryRun = False, quiet: Quiet = False
) -> None:
    """Train the text-audio model (rewards, --best-of, search); the same command resumes."""
    prepare_process(dry_run=dry_run, quiet=quiet, keep_memory=False)  # lengths vary too much
    from soundleap.training.clap import ClapSettings, ClapStory

    settings = resolve(ClapSettings, preset, overrides, dry_run=dry_run)
    run_story(ClapStory(settings, progress=not quiet), progress=not quiet)


def distill(
    preset: Preset, overrides: Overrides = None, dry_run: DryRun = False, quiet: Quiet = False
) -> None:
    """Distill a teacher into a student of few queries; the same command resumes."""
    prepare_process(dry_run=dry_run, quiet=quiet)
    from soundleap.training.distillation import DistillationSettings, DistillationStory

    settings = resolve(DistillationSettings, preset, overrides, dry_run=dry_run)
    run_story(DistillationStory(settings, progress=not quiet), progress=not quiet)


def prepare_process(*, dry_run: bool, quiet: bool, keep_memory: bool = True) -> None:
    """Set up the log, and unless told otherwise the allocator for long work.

    Of several processes the first one alone tells more than errors.
    """
    import logging
    import os

    from soundleap.training.memory import keep_freed_memory

    logging.basicConfig(format="soundleap: %(message)s")
    level = logging.WARNING if quiet else logging.INFO
    first = os.environ.get("RANK", "0") == "0"
    logging.getLogger("soundleap").setLevel(level if first else logging.ERROR)
    if keep_memory and not dry_run:
        keep_freed_memory()


def resolve(
    kind: type[Settings], preset: str, overrides: list[str] | None, *, dry_run: bool
) -> Settings:
    """Read a preset and apply overrides; for a dry run print the result, a preset itself, and end.

    Raises:
        InputError: naming every fault.
    """
    import yaml

    from soundleap.training.settings import as_dict, load_settings, stage_name

    settings = load_settings(kind, preset, overrides or ())
    if dry_run:
        values = {"stage": stage_name(kind), **as_dict(settings)}
        typer.echo(yaml.safe_dump(values, sort_keys=False), nl=False)
        raise typer.Exit
    return settings


def run_story(story: Story, *, progress: bool) -> None:
    """Run a stage and tell how it ended, by words and exit code."""
    from soundleap.training.loop import train

    end = train(story, progress=progress)
    most = story.settings.iterations
    if story.accelerator.is_main_process:
        typer.echo(
            f"finished: {end.folder}; index.html there shows it"
            if end.finished
            else f"stopped at iteration {end.iteration} of {most}; the same command goes on"
        )
    if end.finished:
        return
    raise typer.Exit(STOPPED if end.interrupted else UNFINISHED)
