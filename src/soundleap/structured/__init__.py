"""Structured captions: which sounds a scene holds and when, for models that read them.

``structure(prompt, how)`` makes one; ``parse_events`` checks one that is given.
"""

from .door import How, structure
from .grammar import TAGS, Event, Parsed, Structured, format_events, parse_events
from .rules import split_events, structure_all, structure_split

__all__ = [
    "TAGS",
    "Event",
    "How",
    "Parsed",
    "Structured",
    "format_events",
    "parse_events",
    "split_events",
    "structure",
    "structure_all",
    "structure_split",
]
