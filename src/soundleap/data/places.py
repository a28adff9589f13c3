"""Folders on a disk or behind an fsspec URL: whole files are read, and written whole or not."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from soundleap.errors import InputError

TRIES = 3
PAUSE_IN_S = 2.0


class Place(Protocol):
    """A folder that holds files."""

    def read(self, name: str) -> bytes:
        """Return the content of a file.

        Raises:
            OSError: if it can't be read; FileNotFoundError if there is none.
        """
        ...

    def write(self, name: str, data: bytes) -> None:
        """Write a file; a name never stands for half of it."""
        ...


class Folder:
    """A folder on a disk."""

    def __init__(self, path: Path):
        self.path = path

    def __str__(self) -> str:
        return str(self.path)

    def read(self, name: str) -> bytes:
        """Return the content of a file."""
        return (self.path / name).read_bytes()

    def write(self, name: str, data: bytes) -> None:
        """Write a file under another name, bring it to the disk, and rename it."""
        self.path.mkdir(parents=True, exist_ok=True)
        partial = self.path / f".{name}.partial"
        try:
            with partial.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(self.path / name)
        finally:
            partial.unlink(missing_ok=True)


class Remote:
    """A folder behind an fsspec URL; stores of objects show a file only when it is whole."""

    def __init__(self, url: str):
        """Find the file system of a URL.

        Raises:
            InputError: if fsspec or the package for this kind of URL is missing, or it is unknown.
        """
        try:
            from fsspec.core import url_to_fs
        except ImportError:
            raise InputError(f"{url} is a URL: `pip install 'soundleap[shards]'` first") from None
        try:
            found: tuple[Any, str] = url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise InputError(f"{url} can't be opened: {error}") from None
        self.url, (self._system, self._root) = url, found

    def __str__(self) -> str:
        return self.url

    def read(self, name: str) -> bytes:
        """Return the content of a file; a failure other than its absence is tried again twice."""
        return _again(lambda: bytes(self._system.cat_file(self._path(name))))

    def write(self, name: str, data: bytes) -> None:
        """Write a file in one go."""
        self._system.makedirs(self._root, exist_ok=True)
        self._system.pipe_file(self._path(name), data)

    def _path(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}"


def place_of(text: str | Path) -> Folder | Remote:
    """Return the folder that a path or a URL (with ``://`` in it) stands for.

    Raises:
        InputError: if the URL can't be opened.
    """
    return Remote(str(text)) if is_url(text) else Folder(Path(text))


def is_url(text: str | Path) -> bool:
    """Return whether a text is a URL for fsspec."""
    return isinstance(text, str) and "://" in text


def _again(read: Callable[[], bytes]) -> bytes:
    """Read, and try again where a network may have failed; every error becomes an OSError."""
    for left in reversed(range(TRIES)):
        try:
            return read()
        except FileNotFoundError:
            raise
        except Exception as error:  # each file system has errors of its own
            if not left:
                raise OSError(f"{type(error).__name__}: {error}") from error
            time.sleep(PAUSE_IN_S)
    raise AssertionError("unreachable")
