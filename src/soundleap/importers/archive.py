"""ConsistencyTTA's zips: a torch file, itself a zip, in a zip."""

from __future__ import annotations

import json
import shutil
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, cast

from soundleap.errors import BundleError
from soundleap.importers.checkpoint import Checkpoint, open_checkpoint
from soundleap.importers.files import SUMMARY_FILE, training_files
from soundleap.importers.sources import Watch

_PIECE = 1 << 20
_SPARE = 64 << 20
"""Bytes that must stay free beside what is written."""


@dataclass(frozen=True)
class Archive:
    """An opened zip.

    Attributes:
        checkpoint: the torch file in it.
        member: its name there.
        settings: of the training run, the first record of its ``summary.jsonl``.
    """

    checkpoint: Checkpoint
    member: str
    settings: dict[str, Any]


def is_archive(path: Path) -> bool:
    """Tell whether a file is a zip with a torch file inside, and not a torch file.

    Raises:
        BundleError: if its name ends in ``.zip`` and it is none, or it is truncated.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return bool(training_files(archive.namelist()))
    except zipfile.BadZipFile:
        if path.suffix.lower() == ".zip":
            size = path.stat().st_size
            raise BundleError(
                f"{path} is truncated or no zip ({size:,} bytes); download it again"
            ) from None
        return False
    except OSError as error:
        raise BundleError(f"can't read {path}: {error.strerror}") from None


def open_archive(path: Path, scratch: Path, watch: Watch) -> Archive:
    """Open the training checkpoint in a zip, the latest epoch if there are several.

    A member that is stored as it is, is read where it lies. A compressed one is unpacked first.

    Args:
        path: the zip.
        scratch: folder on the disk that is written to.
        watch: shows progress.

    Raises:
        BundleError: if it is truncated, encrypted, or there is no space to unpack it.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            member = archive.getinfo(training_files(archive.namelist())[0])
            settings = _settings(archive, member.filename)
            if member.compress_type == zipfile.ZIP_STORED:
                start = _start(path, member)
                checkpoint = open_checkpoint(path, start, member.file_size)
            else:
                unpacked = scratch / "unpacked.bin"
                _unpack(archive, member, unpacked, watch)
                checkpoint = open_checkpoint(unpacked)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise BundleError(f"{path} is damaged ({error}); download it again") from None
    except (RuntimeError, NotImplementedError) as error:  # encrypted; an unknown compression
        raise BundleError(f"can't unpack {path}: {error}; unpack it first") from None
    return Archive(checkpoint, member.filename, settings)


def read_settings(text: str) -> dict[str, Any]:
    """Read the first record of a ``summary.jsonl``; empty where it is not as expected."""
    line = next((line for line in text.splitlines() if line.strip()), "")
    try:
        record = json.loads(line)
    except ValueError:
        return {}
    return cast("dict[str, Any]", record) if isinstance(record, dict) else {}


def check_space(folder: Path, size: int, what: str) -> None:
    """Raise `BundleError` unless a folder's disk has room for so many bytes."""
    free = shutil.disk_usage(folder).free
    if free < size + _SPARE:
        raise BundleError(
            f"{what} needs {size / 1e9:.2f} GB at {folder}, where {free / 1e9:.2f} GB are free; "
            "make room or give a folder on another disk"
        )


def _settings(archive: zipfile.ZipFile, member: str) -> dict[str, Any]:
    name = str(PurePosixPath(member).parent.parent / SUMMARY_FILE)
    if name not in archive.namelist():
        return {}
    with archive.open(name) as file:
        return read_settings(file.read(_PIECE).decode("utf-8", "replace"))


def _start(path: Path, member: zipfile.ZipInfo) -> int:
    """Find where a stored member's bytes begin; only its own header tells."""
    with path.open("rb") as file:
        file.seek(member.header_offset)
        header = file.read(30)
    if header[:4] != b"PK\x03\x04":
        raise zipfile.BadZipFile("a member's header is missing")
    lengths = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    return member.header_offset + 30 + lengths


def _unpack(archive: zipfile.ZipFile, member: zipfile.ZipInfo, to: Path, watch: Watch) -> None:
    check_space(to.parent, member.file_size, f"unpacking {member.filename}")
    with (
        archive.open(member) as source,
        to.open("wb") as target,
        watch("unpacking", member.file_size) as advance,
    ):
        while data := source.read(_PIECE):
            target.write(data)
            advance(len(data))
