"""Soundleap: text in, sound out, in one to four network queries.

Public names are loaded when first used, so importing the package imports no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from soundleap._version import __version__

if TYPE_CHECKING:
    from soundleap.audio.io import write_audio
    from soundleap.audio.metadata import read_metadata
    from soundleap.bundle import Bundle
    from soundleap.errors import (
        AudioFileError,
        BundleError,
        InputError,
        NotFiniteError,
        SoundleapError,
    )
    from soundleap.generator import Generator, Result
    from soundleap.output import AudioOutput
    from soundleap.pipeline import TextToAudio
    from soundleap.requests import Request

_HOMES = {
    "AudioFileError": "errors",
    "AudioOutput": "output",
    "Bundle": "bundle",
    "BundleError": "errors",
    "Generator": "generator",
    "InputError": "errors",
    "NotFiniteError": "errors",
    "Request": "requests",
    "Result": "generator",
    "SoundleapError": "errors",
    "TextToAudio": "pipeline",
    "read_metadata": "audio.metadata",
    "write_audio": "audio.io",
}

__all__ = [
    "AudioFileError",
    "AudioOutput",
    "Bundle",
    "BundleError",
    "Generator",
    "InputError",
    "NotFiniteError",
    "Request",
    "Result",
    "SoundleapError",
    "TextToAudio",
    "__version__",
    "read_metadata",
    "write_audio",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'soundleap' has no attribute {name!r}")
    value = getattr(import_module(f"soundleap.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
