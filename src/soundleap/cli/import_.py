"""`soundleap import`: a published checkpoint as a model folder."""

from __future__ import annotations

import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from soundleap.errors import InputError, unknown_name

TERMINATED = 143
_FAMILIES = ("consistencytta", "tango", "audiolcm", "make-an-audio-2")
_WHICH = ("student", "teacher", "target", "ema")
_DTYPES = {"fp32": "float32", "fp16": "float16"}


def import_model(
    source: Annotated[
        str,
        typer.Argument(metavar="SRC", help="File, folder, or hub id org/name (or org/name/file)."),
    ],
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="Folder to make; must not exist, or be empty.")
    ],
    family: Annotated[
        str | None, typer.Option(help=f"{', '.join(_FAMILIES)}.  [default: recognised]")
    ] = None,
    which: Annotated[
        str | None,
        typer.Option(
            help="Copy of the network: student, target, ema, or only the teacher.  "
            "[default: ema for ConsistencyTTA, student for AudioLCM]"
        ),
    ] = None,
    with_teacher: Annotated[
        bool, typer.Option("--with-teacher", help="Put in the teacher too.")
    ] = False,
    dtype: Annotated[str, typer.Option(help="How weights are stored: fp32 or fp16.")] = "fp32",
    tokenizer: Annotated[
        str | None,
        typer.Option(
            help="T5's: file, folder or hub id.  [default: google/flan-t5-large]",
        ),
    ] = None,
    bert_tokenizer: Annotated[
        str | None,
        typer.Option(help="BERT's: file, folder or hub id.  [default: bert-base-uncased]"),
    ] = None,
    text_encoder: Annotated[
        str | None,
        typer.Option(
            help="FLAN-T5's weights, where SRC has none: file, folder or hub id.  "
            "[default: google/flan-t5-large]"
        ),
    ] = None,
    vae: Annotated[
        Path | None, typer.Option(help="File with the autoencoder (audioldm-s-full.ckpt, ...).")
    ] = None,
    vocoder: Annotated[
        Path | None, typer.Option(help="Folder of BigVGAN: best_netG.pt and args.yml.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the model.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
) -> None:
    """Convert a published checkpoint into a model folder.

    Known are ConsistencyTTA (its zips, pytorch_model_2.bin, and the demo's unet_state_dict.pt),
    TANGO (folder or pytorch_model_main.bin), AudioLCM (audiolcm.ckpt) and Make-An-Audio 2
    (maa2.ckpt). The licence of the weights is printed first.
    """
    _check("family", family, (*_FAMILIES, "audioldm"))
    _check("which", which, _WHICH)
    _check("dtype", dtype, _DTYPES)
    if family == "audioldm":
        raise InputError(
            "AudioLDM's autoencoder and vocoder are no model of their own here; give its "
            "checkpoint with --vae when importing ConsistencyTTA or TANGO"
        )
    from soundleap.importers.plan import Options
    from soundleap.importers.run import import_model as convert

    options = Options(
        family=cast("Any", family),
        which=cast("Any", which),
        with_teacher=with_teacher,
        dtype=cast("Any", _DTYPES[dtype]),
        tokenizer=tokenizer,
        bert_tokenizer=bert_tokenizer,
        text_encoder=text_encoder,
        vae=vae,
        vocoder=vocoder,
        name=name,
    )
    with ended_by_sigterm():
        made = convert(source, out, options, tell=typer.echo, watch=_bars(quiet))
    manifest = made.manifest
    networks, size = ", ".join(manifest.networks), manifest.size_in_bytes / 1e6
    version = f"version {manifest.version}" if manifest.version[0].isdigit() else manifest.version
    typer.echo(f"{made.folder}: {manifest.name} ({version}), {networks}, {size:.1f} MB")


def _check(name: str, value: str | None, known: Any) -> None:
    if value is not None and value not in known:
        raise unknown_name(name, value, known)


def _bars(quiet: bool) -> Any:
    from tqdm import tqdm

    @contextmanager
    def watch(word: str, size: int) -> Generator[Callable[[int], None]]:
        hidden = True if quiet else None  # None: shown on a terminal only
        with tqdm(
            total=size, desc=word, unit="B", unit_scale=True, disable=hidden, leave=False
        ) as bar:

            def advance(count: int) -> None:
                bar.update(count)

            yield advance

    return watch


@contextmanager
def ended_by_sigterm() -> Generator[None]:
    """Let SIGTERM end the command as an exception does, so that nothing half-written stays."""

    def end(number: int, frame: Any) -> None:
        raise SystemExit(TERMINATED)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
