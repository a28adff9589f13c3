"""A source, found, opened and recognised."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from soundleap.bundle_schema import Family
from soundleap.errors import BundleError, InputError
from soundleap.importers.archive import open_archive, read_settings
from soundleap.importers.checkpoint import Checkpoint, open_checkpoint
from soundleap.importers.files import (
    SUMMARY_FILE,
    Chosen,
    choose,
    choose_beside,
    choose_in_folder,
    epoch,
)
from soundleap.importers.hub import HubId, fetch, list_files, parse_hub_id
from soundleap.importers.recognise import Form, choose_family, recognise
from soundleap.importers.sources import Watch


@dataclass(frozen=True)
class Opened:
    """The file with the networks, and what belongs to it.

    Attributes:
        checkpoint: its tensors.
        form: its layout.
        family: to import as.
        vae: file with the autoencoder that lies beside it.
        vocoder: file of the vocoder that lies beside it.
        settings: of the training run; empty where they are not known.
        epoch: of the training run; -1 where it is not known.
    """

    checkpoint: Checkpoint
    form: Form
    family: Family
    vae: Path | None
    vocoder: Path | None
    settings: Mapping[str, Any]
    epoch: int


def find(source: str) -> tuple[Chosen, HubId | None]:
    """Pick the files of a source.

    Args:
        source: a file, a folder, a hub id ``org/name``, or one with a file's path behind it.

    Returns:
        The files, and the repository that they are still to be fetched from.

    Raises:
        InputError: if there is no such thing.
        BundleError: if it holds nothing that is known, or the hub can't be reached.
    """
    path = Path(source)
    try:
        if path.is_dir():
            return choose_in_folder(path), None
        if path.is_file():
            return choose_beside(path), None
    except OSError as error:
        raise BundleError(f"can't read {source}: {error.strerror}") from None
    hub_id = parse_hub_id(source)
    if hub_id is None:
        raise InputError(f"{source} does not exist; give a file, a folder or a hub id org/name")
    names = [hub_id.file] if hub_id.file else list_files(hub_id.repo)
    return choose(f"{hub_id.repo} on the hub", names), hub_id


def fetch_chosen(chosen: Chosen, hub_id: HubId) -> Chosen:
    """Fetch the picked files of a repository; gives their paths."""
    folder = fetch(hub_id.repo, chosen.names)  # the hub's cache names it after the revision
    return replace(chosen.under(folder), revision=folder.name)


def open_file(chosen: Chosen, wanted: Family | None) -> Opened:
    """Open a source that is no archive.

    Raises:
        BundleError: if it can't be read or is of no known layout.
        InputError: if it is not of the family that is wanted.
    """
    main = Path(chosen.main)
    checkpoint = open_checkpoint(main)
    return _opened(checkpoint, chosen, wanted, _settings_beside(main), main.as_posix())


def open_packed(chosen: Chosen, wanted: Family | None, scratch: Path, watch: Watch) -> Opened:
    """Open an archive; as `open_file`, see also `open_archive`."""
    archive = open_archive(Path(chosen.main), scratch, watch)
    return _opened(archive.checkpoint, chosen, wanted, archive.settings, archive.member)


def _opened(
    checkpoint: Checkpoint,
    chosen: Chosen,
    wanted: Family | None,
    settings: Mapping[str, Any],
    name: str,
) -> Opened:
    form = recognise(checkpoint)
    return Opened(
        checkpoint=checkpoint,
        form=form,
        family=choose_family(checkpoint, form, wanted, chosen.family),
        vae=None if chosen.vae is None else Path(chosen.vae),
        vocoder=None if chosen.vocoder is None else Path(chosen.vocoder),
        settings=settings,
        epoch=epoch(name),
    )


def _settings_beside(main: Path) -> dict[str, Any]:
    path = main.absolute().parent.parent / SUMMARY_FILE
    try:
        return read_settings(path.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return {}
