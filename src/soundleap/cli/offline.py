"""What `soundleap generate --shard` and `soundleap batch` share: the list, the folder, progress."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from soundleap.errors import InputError
from soundleap.offline import OfflineFolder, Shard, check_seeds
from soundleap.requests import Request, Sample

if TYPE_CHECKING:
    from collections.abc import Callable

    from soundleap.adapters import UsedAdapters
    from soundleap.cli.engines import Opened


def check_list(
    requests: Sequence[Request],
    seed: int | None,
    structure: str,
    *,
    overwrite: bool = False,
    spectrogram: bool = False,
) -> None:
    """Refuse what would make a list another one each time, or does not go with shards.

    Raises:
        InputError: saying what to change.
    """
    if overwrite:
        raise InputError(
            "--overwrite does not go with --shard, which keeps what is done; take a new folder"
        )
    if spectrogram:
        raise InputError("--spectrogram does not go with --shard; leave it out")
    if structure == "endpoint":
        raise InputError(
            "--structure endpoint may answer differently each time; put each struct_prompt into "
            "the .jsonl file, or take all or split"
        )
    check_seeds(requests, seed)


def folder_for(
    samples: Sequence[Sample],
    output: str,
    shard: str,
    bundle: Opened,
    *,
    audio_format: str | None,
    metadata: bool,
    dtype: str | None,
    threads: int | None = None,
    adapters: UsedAdapters | None = None,
) -> OfflineFolder:
    """Plan the folder of a shard; errors as for `OfflineFolder` and `Shard.parse`."""
    if Path(output).suffix and not Path(output).is_dir() and not output.endswith("/"):
        raise InputError(f"{output} looks like a file; a list in shards needs a folder (end in /)")
    settings: dict[str, Any] = {
        "dtype": dtype, "engine": type(bundle).__name__, "threads": threads
    }  # fmt: skip
    if adapters is not None:
        settings["adapters"] = adapters.facts()
    return OfflineFolder(
        samples,
        output,
        Shard.parse(shard),
        fingerprint=bundle.manifest.fingerprint,
        audio_format=audio_format,
        metadata=metadata,
        settings=settings,
    )


def make_missing(folder: OfflineFolder, bundle: Opened, quiet: bool, **loading: Any) -> None:
    """Make what an entered folder lacks, in this process; `loading` goes to `make_generator`."""
    if folder.missing:
        from soundleap.cli.engines import make_generator

        positions = folder.missing
        generator = make_generator(bundle, **loading)
        wanted = [Request(**asdict(folder.samples[position])) for position in positions]
        with progress(folder, quiet) as keep:
            for i, result in generator.stream(wanted):
                keep(positions[i], folder.encode(result))
    say_done(folder, quiet)


@contextmanager
def progress(folder: OfflineFolder, quiet: bool) -> Generator[Callable[[int, bytes], None]]:
    """Give a function that keeps a sound and tells of it."""
    from tqdm import tqdm

    total = folder.done + len(folder.missing)
    hidden = True if quiet else None  # None: shown on a terminal only
    with tqdm(total=total, initial=folder.done, unit="sound", disable=hidden, leave=False) as bar:

        def keep(position: int, data: bytes) -> None:
            path = folder.keep(position, data)
            bar.update()
            if not quiet:
                with bar.external_write_mode():
                    typer.echo(f"{path}  seed {folder.samples[position].seed}")

        yield keep


def say_done(folder: OfflineFolder, quiet: bool) -> None:
    """Tell what a run did."""
    if quiet:
        return
    made, anew = len(folder.missing), len(folder.damaged)
    again = f", {anew} of them since their files had changed" if anew else ""
    typer.echo(f"shard {folder.shard}: {made} made{again}, {folder.done} were there")
