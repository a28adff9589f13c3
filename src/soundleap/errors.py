"""Errors that are meant to be read by the person who caused them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


class SoundleapError(Exception):
    """Base class: one clear line that says what is wrong and what to do."""


class InputError(SoundleapError, ValueError):
    """A value given by the user is not allowed."""


class BundleError(SoundleapError):
    """A model folder is missing, damaged, or made by a newer version."""


class AdapterError(BundleError):
    """An adapter is missing, damaged, or made for another model."""


class AudioFileError(SoundleapError):
    """A sound file can't be read or written."""


class DataError(SoundleapError):
    """Training data are lost or damaged; raised while they are read, before anything changes."""


class DiskFullError(SoundleapError):
    """There is no room for what has to be written."""


class NotFiniteError(SoundleapError):
    """A model gave NaN or infinity."""


def check_range(name: str, value: float, low: float, high: float, unit: str = "") -> None:
    """Raise `InputError` unless ``low <= value <= high``.

    Raises:
        InputError: with the name, the value and the allowed range.
    """
    if not low <= value <= high:  # also catches NaN
        tail = f" {unit}" if unit else ""
        raise InputError(f"{name} is {value:g}{tail}; allowed: {low:g} to {high:g}{tail}")


def unknown_name(what: str, name: str, known: Iterable[str]) -> InputError:
    """Make the error for a name that is not in a table, naming the nearest one that is."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return InputError(f"unknown {what} {name!r}{hint} (known: {', '.join(names)})")


def told_faults(error: ValidationError, whole: str) -> str:
    """Put pydantic's faults into one line; one that belongs to no field is said of the `whole`."""
    return "; ".join(
        f"{'.'.join(map(str, fault['loc'])) or whole}: {fault['msg']}" for fault in error.errors()
    )
