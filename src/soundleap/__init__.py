"""Soundleap: text in, sound out, in one to four network queries."""

from soundleap._version import __version__

__all__ = ["__version__"]
