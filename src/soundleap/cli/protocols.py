"""`soundleap evaluate protocol` and `make`: pinned lists, and the sounds that a model makes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from tqdm import tqdm

Name = Annotated[
    str,
    typer.Argument(
        metavar="PROTOCOL",
        help="soundleap-heldout, audiocaps-882, -886, -957, -975x5, musiccaps, a folder or a file.",
    ),
]
ListFile = Annotated[
    Path | None, typer.Option("--list", help="Your copy of a published list (CSV, TSV, JSON).")
]


def protocol(
    name: Name,
    list_file: ListFile = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the protocol as JSON.")
    ] = None,
    prompts: Annotated[
        Path | None, typer.Option(help="Write id, prompt and seconds of each clip as JSON lines.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files.")] = False,
) -> None:
    """Show what a protocol pins, with its hash; write it or its captions."""
    import json

    from soundleap.audio.io import write_bytes
    from soundleap.audio.names import check_writable
    from soundleap.evaluation.protocols import load_protocol
    from soundleap.evaluation.report_page import flatten

    found = load_protocol(name, list_file=list_file)
    check_writable([path for path in (output, prompts) if path], overwrite=overwrite)
    typer.echo(f"{found.name}\nhash: {found.hash}")
    for key, value in flatten(found.details()):
        typer.echo(f"{key}: {value}")
    if output is not None:
        found.save(output, overwrite=overwrite)
    if prompts is not None:
        rows = ({"id": c.id, "prompt": c.caption, "seconds": c.seconds} for c in found.clips)
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        write_bytes(prompts, text.encode(), overwrite=overwrite)
    for path in filter(None, (output, prompts)):
        typer.echo(f"wrote {path}")


def make(
    name: Name,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the sounds.")],
    list_file: ListFile = None,
    model: Annotated[
        str | None, typer.Option(help="Name, folder or hub id (see `soundleap models`).")
    ] = None,
    teacher: Annotated[bool, typer.Option("--teacher", help="Use the slow teacher.")] = False,
    steps: Annotated[int | None, typer.Option(help="Network queries (or solver steps).")] = None,
    guidance: Annotated[float | None, typer.Option(help="1 is none; more is closer.")] = None,
    seed: Annotated[int, typer.Option(help="Of the first sound; the others count up.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
    system_name: Annotated[
        str | None, typer.Option("--name", help="Of the system in reports.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
) -> None:
    """Make a sound for every caption of a protocol; the same command resumes."""
    from tqdm import tqdm

    from soundleap.evaluation.protocols import load_protocol
    from soundleap.evaluation.protocols.make import make_sounds
    from soundleap.requests import Request
    from soundleap.resolve import open_model

    found, bundle = load_protocol(name, list_file=list_file), open_model(model)
    from soundleap.generator import Generator
    from soundleap.pipeline import TextToAudio

    network = "teacher" if teacher else None
    common = Request("", num_inference_steps=steps, guidance_scale=guidance, network=network)
    generator = Generator(TextToAudio(bundle, device=device))
    with tqdm(total=len(found.clips), unit="sound", disable=True if quiet else None) as bar:
        report = make_sounds(
            found,
            output,
            generator,
            common=common,
            seed=seed,
            name=system_name,
            on_sound=lambda _: _advance(bar),
        )
    typer.echo(
        f"{report.folder}: {report.made} sounds made, {report.kept} were there, "
        f"{report.seconds_per_second:.3f} s of work for a second of sound"
    )


def _advance(bar: tqdm[NoReturn]) -> None:
    bar.update()
