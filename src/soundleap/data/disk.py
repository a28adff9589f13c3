"""A full disk, recognised through every library that may run into it, and said in words."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from soundleap.errors import DiskFullError

_NUMBERS = {
    errno.ENOSPC: "no space left on the disk",
    errno.EFBIG: "a file would be too large",
    errno.EDQUOT: "the quota of disk space is used up",
}
_RUST = re.compile(r"\(os error (\d+)\)")


@contextmanager
def told_when_full(place: str | Path, advice: Callable[[], str]) -> Generator[None]:
    """Turn the failure of writing to a full disk into an error in words; others pass.

    Args:
        place: where something is written.
        advice: gives what to do, once it is needed.

    Raises:
        DiskFullError: for a full disk, a used-up quota, or a limit of a file's size.
    """
    try:
        yield
    except Exception as error:
        what = fullness(error)
        if what is None or isinstance(error, DiskFullError):
            raise
        raise DiskFullError(f"can't write to {place}: {what}; {advice()}") from error


def fullness(error: BaseException | None) -> str | None:
    """Return in which way a disk is full, if an error or one that led to it says so."""
    while error is not None:
        number = error.errno if isinstance(error, OSError) else None
        told = _RUST.search(str(error))  # safetensors has no other way to tell
        number = int(told.group(1)) if told else number
        if number in _NUMBERS:
            return _NUMBERS[number]
        error = error.__cause__ or error.__context__
    return None
