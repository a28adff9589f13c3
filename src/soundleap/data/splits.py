"""Which clips are held out: decided by original recording, never by clip.

Clips of one stem are takes of the same thing, and clips cut from one Freesound upload are the same
recording even where two collections named them differently: both stay together. The decision hangs
on a hash of the recording's name, so that adding a collection moves no clip of another (unless it
brings the same recording along).
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

ESC10 = "esc10"
ESC10_SHARE = 0.25
"""Share of each ESC-10 class that is held out: its clean classes make the best test questions."""

_FREESOUND_URL = re.compile(r"freesound\.org/(?:s|people/[^/]+/sounds)/(\d+)")
_FREESOUND_STEM = re.compile(r"\d-(\d+)")


@dataclass(frozen=True)
class Origin:
    """Where a clip comes from: its id, collection, stem, class words and page."""

    id: str
    source: str
    stem: str
    label_words: str
    source_url: str


def freesound_id(origin: Origin) -> str | None:
    """Number of the Freesound upload that a clip was made from, if known."""
    match = _FREESOUND_URL.search(origin.source_url)
    if match is None and origin.source == ESC10:
        match = _FREESOUND_STEM.match(origin.stem)
    return match.group(1) if match else None


def group_recordings(origins: Iterable[Origin]) -> dict[str, list[Origin]]:
    """Group clips of the same recording, as ``{name of the recording: clips}``."""
    groups = _Groups()
    keyed: list[tuple[str, Origin]] = []
    for origin in origins:
        key = f"{origin.source}/{origin.stem}"
        keyed.append((key, origin))
        upload = freesound_id(origin)
        groups.join(key, f"~freesound/{upload}" if upload else key)
    found: dict[str, list[Origin]] = defaultdict(list)
    for key, origin in keyed:
        found[groups.name(key)].append(origin)
    return dict(found)


def choose_heldout(origins: Sequence[Origin], *, heldout_share: float, seed: int) -> set[str]:
    """Choose the ids that are held out.

    Args:
        origins: all clips.
        heldout_share: share of recordings outside of ESC-10 that is held out, 0 to 1. A quarter of
            each ESC-10 class is held out whatever this is, unless it is 0.
        seed: another number gives another split.
    """
    if heldout_share == 0:
        return set()
    recordings = group_recordings(origins)
    heldout: set[str] = set()
    classes: dict[str, dict[str, list[Origin]]] = defaultdict(dict)
    for name, members in recordings.items():
        label = next((member.label_words for member in members if member.source == ESC10), None)
        if label is not None:
            classes[label][name] = members
        elif _unit_hash(name, seed) < heldout_share:
            heldout.update(member.id for member in members)
    for groups in classes.values():
        heldout |= _quarter_of_class(groups, seed)
    return heldout


def _quarter_of_class(groups: Mapping[str, list[Origin]], seed: int) -> set[str]:
    """Take whole recordings in the order of their hashes while that comes nearer to the share."""
    counts = {n: sum(member.source == ESC10 for member in groups[n]) for n in groups}
    wanted = ESC10_SHARE * sum(counts.values())
    chosen: set[str] = set()
    taken = 0
    for name in sorted(groups, key=lambda name: _unit_hash(name, seed)):
        if taken + counts[name] / 2 <= wanted:
            taken += counts[name]
            chosen.update(member.id for member in groups[name])
    return chosen


def _unit_hash(name: str, seed: int) -> float:
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


class _Groups:
    """Union-find whose groups are named by their first member in alphabetical order."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}

    def name(self, key: str) -> str:
        parent = self._parent.setdefault(key, key)
        if parent != key:
            parent = self._parent[key] = self.name(parent)
        return parent

    def join(self, one: str, other: str) -> None:
        low, high = sorted((self.name(one), self.name(other)))
        self._parent[high] = low
