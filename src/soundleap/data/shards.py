"""WebDataset shards of a latent cache: tar files of NumPy arrays and JSON, and an index of them.

``latents-00000.tar`` holds examples: ``00000012.latents.npy`` [C, L(, H)] float16 and
``00000012.json`` with ``id`` and ``captions``. ``text-00000.tar`` beside it holds the text states
of the captions of these examples, each once, by the sha256 of the caption:
``<sha256>.states.npy`` [N, D] float16 and ``<sha256>.json``. Examples are dealt to shards at
random, so that a shard is a fair sample of the whole. Any reader of tar files or WebDatasets can
read them; what is written is the same, byte for byte, every time.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from soundleap.data.cache_files import CacheFiles
from soundleap.data.disk import told_when_full
from soundleap.data.places import Place, place_of
from soundleap.data.shard_index import (
    TABLE,
    About,
    Rows,
    ShardFile,
    Table,
    Words,
    checked,
    read_about,
    write_index,
)
from soundleap.errors import DataError, InputError, check_range

logger = logging.getLogger(__name__)

HEADER = 512
"""Bytes of a member's header in a USTAR file."""


@dataclass(frozen=True)
class ShardReport:
    """What was written: numbers of shards, examples, captions, copies of their states, bytes.

    `fresh` tells whether it was written now, or was there already.
    """

    shards: int
    examples: int
    captions: int
    copies: int
    bytes: int
    fresh: bool


def write_shards(
    cache: str | Path,
    out: str | Path,
    *,
    shard_size: int = 2048,
    seed: int = 0,
    progress: bool = True,
) -> ShardReport:
    """Write a latent cache as shards; the memory needed is that of one shard.

    A set that is there is held against its hashes, and made again if a file is lost or damaged.

    Args:
        cache: folder that `soundleap data cache` made.
        out: a folder, or a URL for fsspec.
        shard_size: examples in a shard, 1 to 1,000,000.
        seed: of the order in which examples are dealt to shards.
        progress: show a bar.

    Raises:
        InputError: if the cache is not whole, or `out` holds shards made from something else.
        DiskFullError: if there is no room for them.
    """
    check_range("shard_size", shard_size, 1, 1_000_000)
    files, place = CacheFiles(Path(cache)), place_of(out)
    made = read_about(place)
    if made is not None:
        _check_same(out, made[0], files.key, shard_size, seed)
        if _is_whole(place, *made, progress=progress):
            return _report(made[0], fresh=False)
    generator = torch.Generator().manual_seed(seed)
    order: list[int] = torch.randperm(len(files.examples), generator=generator).tolist()
    parts = [order[i : i + shard_size] for i in range(0, len(order), shard_size)]
    writer = _Writer(files, place)
    with told_when_full(str(place), lambda: "make room and give the same command again"):
        for part in tqdm(parts, desc="shards", disable=not progress):
            writer.add(part)
    about = About(
        made_from=files.key,
        vector_shape=files.vector_shape,
        text_dim=files.text_dim,
        examples=len(order),
        captions=len(files.captions),
        shard_size=shard_size,
        seed=seed,
        latents=tuple(writer.latents),
        text=tuple(writer.text),
    )
    write_index(place, about, writer.table())
    return _report(about, fresh=True)


def _check_same(
    out: str | Path, about: About, key: dict[str, Any], shard_size: int, seed: int
) -> None:
    wanted = {"made_from": key, "shard_size": shard_size, "seed": seed}
    other = [name for name, value in wanted.items() if getattr(about, name) != value]
    if other:
        raise InputError(f"{out} holds shards with other {', '.join(other)}; use another folder")


def _is_whole(place: Place, about: About, table: str, *, progress: bool) -> bool:
    hashes = {file.file: file.sha256 for file in (*about.latents, *about.text)} | {TABLE: table}
    for name, sha256 in tqdm(hashes.items(), desc="check", disable=not progress):
        try:
            checked(place, name, sha256)
        except DataError:
            logger.warning("%s of %s is lost or damaged: all files are made again", name, place)
            return False
    return True


def _report(about: About, *, fresh: bool) -> ShardReport:
    return ShardReport(
        shards=len(about.latents),
        examples=about.examples,
        captions=about.captions,
        copies=sum(file.samples for file in about.text),
        bytes=sum(file.bytes for file in (*about.latents, *about.text)),
        fresh=fresh,
    )


class _Writer:
    """Writes shard after shard and keeps the rows of the index."""

    def __init__(self, files: CacheFiles, place: Place):
        self.files, self.place = files, place
        self.latents: list[ShardFile] = []
        self.text: list[ShardFile] = []
        self._examples: list[tuple[int, int, int]] = []  # length, shard, offset
        self._captions: list[list[int]] = []
        self._copies: list[list[tuple[int, int]]] = [[] for _ in files.captions]
        self._text_lengths = [0] * len(files.captions)

    def add(self, examples: Sequence[int]) -> None:
        """Write the tar file of these examples, and that of their captions."""
        number = len(self.latents)
        tar = _Tar()
        captions: dict[int, None] = {0: None}
        for i in examples:
            key = f"{len(self._examples):08d}"
            about, values = self.files.examples[i], self.files.latents(i)
            offset = tar.add_array(f"{key}.latents.npy", values)
            tar.add_json(f"{key}.json", about)
            found = [self.files.captions[caption] for caption in about["captions"]]
            captions.update(dict.fromkeys(found))
            self._examples.append((values.shape[1], number, offset))
            self._captions.append(found)
        self.latents.append(self._put(f"latents-{number:05d}.tar", tar, len(examples)))
        self._add_text(number, list(captions))

    def _add_text(self, number: int, captions: list[int]) -> None:
        tar = _Tar()
        words = self.files.words
        for caption in captions:
            key = caption_hash(words[caption])
            values = self.files.states(caption)
            offset = tar.add_array(f"{key}.states.npy", values)
            tar.add_json(f"{key}.json", {"caption": words[caption]})
            self._copies[caption].append((number, offset))
            self._text_lengths[caption] = len(values)
        self.text.append(self._put(f"text-{number:05d}.tar", tar, len(captions)))

    def _put(self, name: str, tar: _Tar, samples: int) -> ShardFile:
        data = tar.whole()
        self.place.write(name, data)
        return ShardFile(name, len(data), hashlib.sha256(data).hexdigest(), samples)

    def table(self) -> Table:
        """Return the index's rows."""
        lengths, shard, offset = np.array(self._examples, np.int64).T.copy()
        return Table(
            lengths=lengths,
            shard=shard,
            offset=offset,
            captions=Rows.of(self._captions),
            text_lengths=np.array(self._text_lengths, np.int64),
            copy_shards=Rows.of([s for s, _ in copies] for copies in self._copies),
            copy_offsets=Rows.of([o for _, o in copies] for copies in self._copies),
            words=Words.of(self.files.words),
        )


class _Tar:
    """A tar file in memory that knows where its arrays begin and depends on nothing but them."""

    def __init__(self) -> None:
        self._buffer = io.BytesIO()
        self._tar = tarfile.open(fileobj=self._buffer, mode="w", format=tarfile.USTAR_FORMAT)

    def add_array(self, name: str, values: NDArray[np.float16]) -> int:
        """Add a ``.npy`` file and return the offset of its numbers."""
        file = io.BytesIO()
        np.save(file, np.ascontiguousarray(values), allow_pickle=False)
        start = self._add(name, file.getvalue())
        return start + len(file.getvalue()) - values.nbytes

    def add_json(self, name: str, value: Any) -> None:
        """Add a JSON file."""
        self._add(name, json.dumps(value, ensure_ascii=False).encode())

    def whole(self) -> bytes:
        """Return the whole file."""
        self._tar.close()
        return self._buffer.getvalue()

    def _add(self, name: str, data: bytes) -> int:
        about = tarfile.TarInfo(name)
        about.size, about.mode = len(data), 0o644
        start = self._tar.offset + HEADER
        self._tar.addfile(about, io.BytesIO(data))
        return start


def caption_hash(caption: str) -> str:
    """Return the key of a caption in a text shard."""
    return hashlib.sha256(caption.encode()).hexdigest()
