"""``soundleap data``: fetch, prepare, check, render and encode clips for training."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from soundleap.cli.train import DryRun, Overrides, Preset, Quiet, prepare_process, resolve

if TYPE_CHECKING:
    from tqdm import tqdm

app = typer.Typer(
    no_args_is_help=True, help="Clips for training: fetch, prepare, check, render, cache."
)

_SHOWN = 20


class LinkChoice(StrEnum):
    """How audio files get into the prepared folder."""

    hardlink = "hardlink"
    copy = "copy"
    symlink = "symlink"


@app.command()
def prepare(
    corpus: Annotated[Path, typer.Argument(help="Folder with metadata.jsonl and audio.")],
    out: Annotated[Path, typer.Argument(help="Folder for manifest.jsonl; may be the corpus.")],
    heldout_share: Annotated[float, typer.Option(help="Share of recordings held out.")] = 0.06,
    seed: Annotated[int, typer.Option(help="Another number gives another split.")] = 0,
    link: Annotated[LinkChoice, typer.Option(help="How audio gets there.")] = LinkChoice.hardlink,
    captions: Annotated[Path | None, typer.Option(help="Captions table of one's own.")] = None,
) -> None:
    """Turn a corpus into a manifest with captions and a held-out split."""
    from soundleap.data.prepare import prepare_corpus

    report = prepare_corpus(
        corpus, out, heldout_share=heldout_share, seed=seed, link=link.value, captions=captions
    )
    for source, counts in report.by_source.items():
        typer.echo(f"{source:12} train {counts['train']:5}  heldout {counts['heldout']:5}")
    typer.echo(f"{report.clips} clips, {report.seconds / 60:.1f} minutes: {report.manifest}")
    typer.echo(f"left out by the captions table: {report.dropped_clips} clips")
    _list("could not be used", [f"{name}: {why}" for name, why in report.skipped.items()])


@app.command()
def validate(
    manifest: Annotated[Path, typer.Argument(help="A manifest.jsonl.")],
    audio: Annotated[bool, typer.Option(help="Also decode every clip.")] = False,
) -> None:
    """List every fault of a manifest; exit code 1 if there are any."""
    from soundleap.data.manifest import validate_manifest

    faults = validate_manifest(manifest, check_audio=audio)
    for fault in faults:
        typer.echo(str(fault))
    typer.echo(f"{manifest}: {len(faults) or 'no'} faults")
    if faults:
        raise typer.Exit(1)


@app.command()
def fetch(
    out: Annotated[Path, typer.Argument(help="Folder for the corpus.")],
    source: Annotated[list[str] | None, typer.Option(help="Collection; may be repeated.")] = None,
) -> None:
    """Build the sound corpus from its public sources; the same command resumes."""
    from soundleap.data.fetch import fetch_corpus

    report = fetch_corpus(out, sources=source or ())
    typer.echo(f"{report.written} clips written, {report.kept} were there: {out}")
    _list("left out", [f"{name}: {why}" for name, why in report.left_out.items()])
    _list("not to be had", [f"{name}: {why}" for name, why in report.failed.items()])
    if report.failed:
        raise typer.Exit(1)


@app.command()
def render(
    out: Annotated[Path, typer.Argument(help="Folder for audio and manifest.jsonl.")],
    music: Annotated[int, typer.Option(help="Pieces of music (needs FluidSynth).")] = 0,
    speech: Annotated[int, typer.Option(help="Spoken clips (needs Flite).")] = 0,
    noise: Annotated[int, typer.Option(help="Synthetic noises and tones.")] = 0,
    seed: Annotated[int, typer.Option(help="Another number gives other clips.")] = 0,
    workers: Annotated[int, typer.Option(help="Clips made at the same time.")] = 1,
) -> None:
    """Render clips with exact captions; the same command resumes."""
    from tqdm import tqdm

    from soundleap.data.rendering.render import render_corpus
    from soundleap.errors import InputError

    counts = {"music": music, "speech": speech, "noise": noise}
    if not any(counts.values()):
        raise InputError("nothing to render: give --music, --speech or --noise a count above 0")
    with tqdm(total=sum(counts.values()), unit="clip") as bar:
        report = render_corpus(
            out,
            counts=counts,
            seed=seed,
            workers=workers,
            progress=lambda done, _: _advance(bar, done),
        )
    typer.echo(f"{report.rendered} clips rendered, {report.skipped} were there: {out}")
    _list("failed", [f"{name}: {why}" for name, why in report.failures])
    if report.failures:
        raise typer.Exit(1)


@app.command()
def cache(
    preset: Preset, overrides: Overrides = None, dry_run: DryRun = False, quiet: Quiet = False
) -> None:
    """Compute latents and text states of all training examples; the same command resumes."""
    prepare_process(dry_run=dry_run, quiet=quiet)
    from soundleap.training.cache import CacheSettings, make_cache

    settings = resolve(CacheSettings, preset, overrides, dry_run=dry_run)
    report = make_cache(settings, progress=not quiet)
    typer.echo(f"{report.examples} examples of {report.clips} clips: {settings.run_dir}")
    typer.echo(
        f"text states: {report.captions_encoded} captions encoded, "
        f"{report.captions_reused} reused from other caches"
    )
    _list("skipped", list(report.skipped))


def _advance(bar: tqdm[NoReturn], done: int) -> None:
    bar.update(done - bar.n)


@app.command()
def shards(
    cache: Annotated[Path, typer.Argument(help="Folder that `data cache` made.")],
    out: Annotated[str, typer.Argument(help="Folder, or URL for fsspec (s3://…).")],
    shard_size: Annotated[int, typer.Option(help="Examples in a shard.")] = 2048,
    seed: Annotated[int, typer.Option(help="Another number deals examples anew.")] = 0,
    quiet: Quiet = False,
) -> None:
    """Write a latent cache as WebDataset shards; the same command makes lost ones again."""
    from soundleap.data.shards import write_shards

    report = write_shards(cache, out, shard_size=shard_size, seed=seed, progress=not quiet)
    typer.echo(
        f"{report.examples} examples in {report.shards} shards, {report.captions} captions "
        f"({report.copies} with copies), {report.bytes / 1e6:.1f} MB: {out}"
        f"{'' if report.fresh else ' (was there)'}"
    )


def _list(title: str, lines: list[str]) -> None:
    if not lines:
        return
    typer.echo(f"{title}: {len(lines)}")
    for line in lines[:_SHOWN]:
        typer.echo(f"  {line}")
    if len(lines) > _SHOWN:
        typer.echo(f"  and {len(lines) - _SHOWN} more")
