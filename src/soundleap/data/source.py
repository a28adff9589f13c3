"""Where training takes latents and text states from: one protocol, several ways of keeping them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from torch import Tensor

from soundleap.data.latents import LatentCache
from soundleap.data.places import is_url
from soundleap.data.shard_index import INDEX, TABLE
from soundleap.data.shard_reader import LatentShards
from soundleap.models.text import TextStates


class LatentSource(Protocol):
    """Examples as latents with captions, captions as text states.

    Attributes:
        lengths: ``[N]`` int64, latent vectors of every example.
        empty: index of the empty caption.
        groups: ``[N]`` int64, which examples lie together (in one shard), or None. A batch that
            stays within one group, and groups that come one after another, are read fastest.
    """

    lengths: Tensor
    empty: int
    groups: Tensor | None

    @property
    def captions(self) -> Sequence[Sequence[int]]:
        """For every example the indices of its captions."""
        ...

    @property
    def vector_shape(self) -> tuple[int, ...]:
        """Shape of a latent vector: ``(C,)`` for latents [C, L], ``(C, H)`` for [C, L, H]."""
        ...

    def latents(self, indices: Sequence[int], length: int | None = None) -> tuple[Tensor, Tensor]:
        """Return latents ``[B, C, L(, H)]`` float32, zero where padded, and their mask ``[B, L]``.

        L is `length`, or that of the longest.
        """
        ...

    def text(self, indices: Sequence[int], length: int | None = None) -> TextStates:
        """Return the states of captions, padded to `length` or to the longest."""
        ...

    def words(self, indices: Sequence[int]) -> list[str]:
        """Return captions as texts."""
        ...


def open_source(place: str | Path) -> LatentSource:
    """Open what `soundleap data cache` or `soundleap data shards` made.

    Args:
        place: a folder, or the URL of a set of shards.

    Raises:
        InputError: if there is nothing of the kind, or it is not complete.
        DataError: if the index of a set of shards is lost or damaged.
    """
    if is_url(place) or any((Path(place) / name).exists() for name in (INDEX, TABLE)):
        return LatentShards(place)
    return LatentCache(place)
