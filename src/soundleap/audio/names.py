"""Where generated sounds go: names of files, and whether they may be written."""

from __future__ import annotations

import os
import re
import tempfile
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from soundleap.errors import InputError, unknown_name

FORMATS = ("wav", "flac", "ogg", "opus", "mp3")
"""Formats that can be written, by their file name's ending."""
READABLE = (*FORMATS, "aif", "aiff", "oga", "w64")
"""Endings of files that are read as sounds."""

SLUG_LENGTH = 40


def slug(prompt: str) -> str:
    """Shorten a prompt to at most 40 letters a-z, digits and hyphens; "sound" if none are left."""
    plain = unicodedata.normalize("NFKD", prompt).encode("ascii", "ignore").decode().lower()
    words = re.sub(r"[^a-z0-9]+", "-", plain)[: SLUG_LENGTH + 1].strip("-")
    cut = words[:SLUG_LENGTH]
    if len(words) > SLUG_LENGTH and "-" in cut:
        cut = cut.rpartition("-")[0]
    return cut.strip("-") or "sound"


def file_name(number: int, prompt: str, seed: int, suffix: str) -> str:
    """Give ``0001-slug-seed.suffix``."""
    return f"{number:04d}-{slug(prompt)}-{seed}.{suffix}"


def sound_files(folder: Path) -> list[Path]:
    """Give the sound files in a folder and below, in order; hidden ones are passed over."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower().removeprefix(".") in READABLE
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    )


def check_format(name: str) -> str:
    """Give a format's name in small letters.

    Raises:
        InputError: if it is not in `FORMATS`.
    """
    plain = name.lower().removeprefix(".")
    if plain not in FORMATS:
        raise unknown_name("format", name, FORMATS)
    return plain


def format_of(path: Path, wanted: str | None = None) -> str:
    """Find the format of a file from its ending, or from `wanted`.

    Raises:
        InputError: for an unknown format, or one that contradicts the ending.
    """
    ending = path.suffix.lower().removeprefix(".")
    if wanted is None:
        if not ending:
            raise InputError(f"{path} has no ending; add one of: {', '.join(FORMATS)}")
        return check_format(ending)
    name = check_format(wanted)
    if ending in FORMATS and ending != name:
        raise InputError(f"{path} ends in .{ending} but format is {name}; make them agree")
    return name


def plan_paths(
    output: str | Path, sounds: Sequence[tuple[str, int]], wanted: str | None = None
) -> list[Path]:
    """Give every sound its path.

    Args:
        output: a file for one sound, or a folder: what exists as one, ends in a separator or has
            no ending.
        sounds: prompt and seed of each.
        wanted: format; None takes the file's ending, or wav in a folder.

    Raises:
        InputError: for an unknown format, or a file where several sounds have to go.
    """
    path = Path(output)
    is_folder = _is_dir(path) or str(output).endswith(("/", os.sep)) or not path.suffix
    if is_folder:
        suffix = check_format(wanted or "wav")
        return [path / file_name(i + 1, *sound, suffix) for i, sound in enumerate(sounds)]
    try:
        format_of(path, wanted)
    except InputError as error:
        raise InputError(f"{error}; end a new folder's name with /") from None
    if len(sounds) != 1:
        raise InputError(
            f"{path} is one file for {len(sounds)} sounds; give a folder (end a new one's name "
            "with /)"
        )
    return [path]


def check_writable(paths: Sequence[Path], *, overwrite: bool = False) -> None:
    """Find out before any work whether files can be written.

    Raises:
        InputError: naming the first one that exists (unless `overwrite`), that is there twice, or
            that can't be written, for example for its folder or the length of its name.
    """
    seen: set[Path] = set()
    for path in paths:
        if path in seen:
            raise InputError(f"{path} is the name of two files; choose another name")
        seen.add(path)
        if _is_dir(path):
            raise InputError(f"{path} is a folder")
        if _exists(path) and not overwrite:
            raise InputError(f"{path} exists; choose another name or allow it with overwrite")
    for folder in {_existing(path.parent) for path in paths}:
        try:
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise InputError(f"can't write to {folder}: {error.strerror}") from None


def _existing(folder: Path) -> Path:
    while not _exists(folder) and folder != folder.parent:
        folder = folder.parent
    return folder


def _is_dir(path: Path) -> bool:
    return _exists(path) and path.is_dir()


def _exists(path: Path) -> bool:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError) as error:  # no permission, too long; a zero in the name
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"can't write {str(path)!r}: {reason}") from None
    return True
