"""Latents and text states out of tar shards, with random access and bounded memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from soundleap.data.padding import pad_rows
from soundleap.data.places import place_of
from soundleap.data.shard_index import INDEX, About, ShardFile, checked, read_about, read_table
from soundleap.errors import InputError
from soundleap.models.text import TextStates

MEMORY = 1 << 30
"""Bytes of shards that are kept; the newest stays even where it alone is larger."""


class LatentShards:
    """A set of shards as `soundleap data shards` writes it, see `soundleap.data.source`.

    A shard is read as a whole when something in it is first wanted, held against its hash, and kept
    until others need the room.

    Attributes:
        about: what the set holds.
        key: what the cache was made from.
        lengths: latent vectors of every example.
        captions: for every example the indices of its captions.
        empty: index of the empty caption.
        groups: the number of every example's shard.
    """

    def __init__(self, place: str | Path, *, memory: int = MEMORY):
        """Open a set.

        Args:
            place: a folder, or a URL for fsspec.
            memory: bytes of shards that are kept at once.

        Raises:
            InputError: if there is no whole set.
            DataError: if its index is lost or damaged.
        """
        self._place = place_of(place)
        found = read_about(self._place)
        if found is None:
            raise InputError(
                f"{place} has no {INDEX}: no shards, or not all of them; make them with "
                "`soundleap data shards`"
            )
        self.about: About = found[0]
        self.key = self.about.made_from
        self._table = read_table(self._place, found[1])
        self._files = _FilesInMemory(memory)
        self._current = 0
        self.lengths = torch.from_numpy(self._table.lengths.copy())
        self.groups: Tensor | None = torch.from_numpy(self._table.shard.copy())
        self.captions = self._table.captions
        self.empty = 0  # the writer puts it first

    @property
    def vector_shape(self) -> tuple[int, ...]:
        """Shape of a latent vector: ``(C,)``, or ``(C, H)`` for latents with a height."""
        return self.about.vector_shape

    def latents(self, indices: Sequence[int], length: int | None = None) -> tuple[Tensor, Tensor]:
        """Return padded latents ``[B, C, L(, H)]`` float32 and their mask ``[B, L]``.

        Raises:
            DataError: if a shard is lost or damaged.
        """
        rows: list[Tensor] = []
        channels, *height = self.vector_shape
        for i in indices:
            shape = (channels, int(self.lengths[i]), *height)
            self._current = int(self._table.shard[i])
            file = self.about.latents[self._current]
            values = self._numbers(file, int(self._table.offset[i]), shape)
            rows.append(values.transpose(0, 1))
        batch, mask = pad_rows(rows, length)
        return batch.transpose(1, 2).contiguous(), mask

    def text(self, indices: Sequence[int], length: int | None = None) -> TextStates:
        """Return the states of captions, padded to `length` or to the longest.

        Raises:
            DataError: if a shard is lost or damaged.
        """
        rows: list[Tensor] = []
        for i in indices:
            file, offset = self._copy(i)
            shape = (int(self._table.text_lengths[i]), self.about.text_dim)
            rows.append(self._numbers(file, offset, shape))
        embeds, mask = pad_rows(rows, length)
        return TextStates(embeds=embeds, mask=mask)

    def words(self, indices: Sequence[int]) -> list[str]:
        """Return captions as texts."""
        return [self._table.words[i] for i in indices]

    def _copy(self, caption: int) -> tuple[ShardFile, int]:
        """Choose where to read a caption's states: beside the newest latents, or from memory."""
        shards = self._table.copy_shards[caption]
        if self._current in shards:
            at = shards.index(self._current)
        else:
            kept = (i for i, s in enumerate(shards) if self.about.text[s].file in self._files)
            at = next(kept, 0)
        return self.about.text[shards[at]], self._table.copy_offsets[caption][at]

    def _numbers(self, file: ShardFile, offset: int, shape: tuple[int, ...]) -> Tensor:
        data = self._files.get(file.file)
        if data is None:
            data = checked(self._place, file.file, file.sha256)
            self._files.put(file.file, data)
        count = int(np.prod(shape))
        values = np.frombuffer(data, np.float16, count, offset).astype(np.float32)
        return torch.from_numpy(values).view(shape)


class _FilesInMemory:
    """Contents of files, the least recently used of them forgotten first."""

    def __init__(self, most: int):
        self._most, self._size = most, 0
        self._files: OrderedDict[str, bytes] = OrderedDict()

    def __contains__(self, name: str) -> bool:
        return name in self._files

    def get(self, name: str) -> bytes | None:
        data = self._files.get(name)
        if data is not None:
            self._files.move_to_end(name)
        return data

    def put(self, name: str, data: bytes) -> None:
        while self._files and self._size + len(data) > self._most:
            self._size -= len(self._files.popitem(last=False)[1])
        self._files[name] = data
        self._size += len(data)
