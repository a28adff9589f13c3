"""The index of a set of shards: where every example and every caption's states lie."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from soundleap.data.places import Place
from soundleap.errors import DataError, InputError

INDEX = "index.json"
TABLE = "index.safetensors"
KIND = "soundleap-shards"
VERSION = 1

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class ShardFile:
    """A tar file: its name, size, hash, and how many samples it holds."""

    file: str
    bytes: int
    sha256: str
    samples: int


@dataclass(frozen=True)
class About:
    """What a set of shards holds.

    Attributes:
        made_from: the key of the latent cache, as in its ``key.json``.
        vector_shape: of a latent vector, ``(C,)`` or ``(C, H)``.
        text_dim: width of a text state.
        examples: how many there are.
        captions: how many different ones, the empty one among them.
        shard_size: examples in a shard.
        seed: of the order in which examples were dealt to shards.
        latents: files with the examples, in order.
        text: files with the states of the captions that the examples of the same number have.
    """

    made_from: dict[str, Any]
    vector_shape: tuple[int, ...]
    text_dim: int
    examples: int
    captions: int
    shard_size: int
    seed: int
    latents: tuple[ShardFile, ...]
    text: tuple[ShardFile, ...]


@dataclass(frozen=True)
class Table:
    """One row an example, one row a caption; lists of different lengths lie end to end.

    Attributes:
        lengths: latent vectors of every example.
        shard: number of its shard.
        offset: of its numbers within the file.
        captions: indices of its captions.
        text_lengths: tokens of every caption.
        copy_shards: shards that hold its states.
        copy_offsets: of its numbers within these files.
        words: the captions.
    """

    lengths: Integers
    shard: Integers
    offset: Integers
    captions: Rows
    text_lengths: Integers
    copy_shards: Rows
    copy_offsets: Rows
    words: Words


class Rows(Sequence[list[int]]):
    """Lists of integers, kept end to end."""

    def __init__(self, counts: Integers, values: Integers):
        self.counts, self.values = counts, values
        self._starts = np.concatenate([[0], counts.cumsum()])

    @classmethod
    def of(cls, rows: Iterable[Sequence[int]]) -> Rows:
        """Pack lists."""
        rows = list(rows)
        flat = [value for row in rows for value in row]
        return cls(np.array([len(row) for row in rows], np.int64), np.array(flat, np.int64))

    def __len__(self) -> int:
        """Return the number of lists."""
        return len(self.counts)

    @overload
    def __getitem__(self, index: int) -> list[int]: ...

    @overload
    def __getitem__(self, index: slice) -> list[list[int]]: ...

    def __getitem__(self, index: int | slice) -> list[int] | list[list[int]]:
        """Return a list, or several."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        index = range(len(self))[index]
        return self.values[self._starts[index] : self._starts[index + 1]].tolist()


class Words:
    """Texts, kept end to end as UTF-8."""

    def __init__(self, counts: Integers, blob: NDArray[np.uint8]):
        self.counts, self.blob = counts, blob
        self._starts = np.concatenate([[0], counts.cumsum()])

    @classmethod
    def of(cls, words: Sequence[str]) -> Words:
        """Pack texts."""
        parts = [word.encode() for word in words]
        blob = np.frombuffer(b"".join(parts), np.uint8)
        return cls(np.array([len(part) for part in parts], np.int64), blob)

    def __getitem__(self, index: int) -> str:
        """Return a text."""
        return self.blob[self._starts[index] : self._starts[index + 1]].tobytes().decode()


def write_index(place: Place, about: About, table: Table) -> None:
    """Write both files; the second one makes the set whole."""
    data = save(
        {
            "lengths": table.lengths,
            "shard": table.shard,
            "offset": table.offset,
            "caption_counts": table.captions.counts,
            "captions": table.captions.values,
            "text_lengths": table.text_lengths,
            "copy_counts": table.copy_shards.counts,
            "copy_shards": table.copy_shards.values,
            "copy_offsets": table.copy_offsets.values,
            "word_counts": table.words.counts,
            "words": table.words.blob,
        }
    )
    place.write(TABLE, data)
    head = {"kind": KIND, "version": VERSION, "table_sha256": hashlib.sha256(data).hexdigest()}
    text = json.dumps({**head, **asdict(about)}, indent=1, ensure_ascii=False)
    place.write(INDEX, f"{text}\n".encode())


def read_about(place: Place) -> tuple[About, str] | None:
    """Read ``index.json``: what the set holds, and the hash of its table; None if there is none.

    Raises:
        InputError: if it is not one, or of a newer version.
        DataError: if it is there and can't be read.
    """
    try:
        values = json.loads(place.read(INDEX))
        if values.pop("kind") != KIND:
            raise KeyError
        version, table = values.pop("version"), str(values.pop("table_sha256"))
        if version > VERSION:
            raise InputError(f"{place} has version {version}; upgrade soundleap to read it")
        for name in ("latents", "text"):
            values[name] = tuple(ShardFile(**file) for file in values[name])
        values["vector_shape"] = tuple(values["vector_shape"])
        return About(**values), table
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(f"can't read {INDEX} of {place}: {error}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{INDEX} of {place} is not the index of a set of shards") from None


def read_table(place: Place, sha256: str) -> Table:
    """Read ``index.safetensors``.

    Raises:
        DataError: if it is lost or damaged.
    """
    part = load(checked(place, TABLE, sha256))
    copies = part["copy_counts"]
    return Table(
        lengths=part["lengths"],
        shard=part["shard"],
        offset=part["offset"],
        captions=Rows(part["caption_counts"], part["captions"]),
        text_lengths=part["text_lengths"],
        copy_shards=Rows(copies, part["copy_shards"]),
        copy_offsets=Rows(copies, part["copy_offsets"]),
        words=Words(part["word_counts"], part["words"]),
    )


def checked(place: Place, name: str, sha256: str) -> bytes:
    """Read a file and hold it against its hash.

    Raises:
        DataError: if it is lost or damaged, naming it.
    """
    advice = "bring it back, or make the set again with `soundleap data shards`; then the same "
    advice += "command goes on"
    try:
        data = place.read(name)
    except FileNotFoundError:
        raise DataError(f"{name} of {place} is lost; {advice}") from None
    except OSError as error:
        raise DataError(f"{name} of {place} can't be read ({error}); {advice}") from error
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise DataError(
            f"{name} of {place} is damaged: its sha256 is {found[:12]}…, not {sha256[:12]}…; "
            f"{advice}"
        )
    return data
