"""What a folder of sounds should hold and what is done: lines of JSON.

A shard's manifest, ``manifest-1-of-4.jsonl``, begins with a `Key`; a `Row` follows for each sound,
in the order they were made. When every shard is done, ``manifest.jsonl`` has all of them in the
order of the list, and the same bytes however the list was cut.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, cast

from soundleap.errors import InputError
from soundleap.offline.shards import Shard
from soundleap.requests import Sample

MERGED = "manifest.jsonl"
VERSION = 1
_TEXTS = ("prompt", "negative_prompt", "struct_prompt", "seed")
_REASONS = {
    "total": "the list had {theirs} sounds, now it has {ours}",
    "prompts": "the prompt list or its seeds have changed",
    "settings": "the settings have changed (duration, steps, guidance, format, dtype, engine, ...)",
    "model": "it was another model ({theirs}, now {ours})",
    "count": "the list was cut into {theirs} shards, now into {ours}",
}


@dataclass(frozen=True)
class Key:
    """What a run makes; runs with one key may share a folder.

    Attributes:
        total: sounds in the whole list.
        count: shards.
        prompts: hash of texts and seeds, in order.
        settings: hash of everything else that is asked for.
        model: the model's fingerprint.
    """

    total: int
    count: int
    prompts: str
    settings: str
    model: str

    def check_same(self, other: Key, where: Path) -> None:
        """Refuse to go on with another run's folder.

        Raises:
            InputError: saying what is different.
        """
        for name, reason in _REASONS.items():
            theirs, ours = getattr(other, name), getattr(self, name)
            if theirs != ours:
                text = reason.format(theirs=str(theirs)[:12], ours=str(ours)[:12])
                raise InputError(
                    f"{where} belongs to another run: {text}; repeat that run's command, or choose "
                    "another folder"
                )


@dataclass(frozen=True)
class Row:
    """One sound that is done.

    Attributes:
        position: in the whole list, from 0.
        file: name in the folder.
        bytes: of the file.
        sha256: of the file.
        prompt: what is heard.
        seed: what it was made with.
    """

    position: int
    file: str
    bytes: int
    sha256: str
    prompt: str
    seed: int

    def line(self) -> bytes:
        """Give the row as a line."""
        return (json.dumps(asdict(self)) + "\n").encode()


def key_of(
    samples: Sequence[Sample], shard: Shard, model: str, settings: dict[str, Any] | None = None
) -> Key:
    """Make the key of a run.

    Args:
        samples: the whole list.
        shard: of which only the count matters.
        model: the model's fingerprint.
        settings: what else decides about the bytes: format, dtype, engine, ...
    """
    others = [name for name in Sample.__dataclass_fields__ if name not in _TEXTS]
    texts, rest = hashlib.sha256(), hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for sample in samples:
        texts.update(_packed(sample, _TEXTS))
        rest.update(_packed(sample, others))
    return Key(len(samples), shard.count, texts.hexdigest(), rest.hexdigest(), model)


def manifest_path(folder: Path, shard: Shard) -> Path:
    """Give the path of a shard's manifest."""
    return folder / f"manifest-{shard.index}-of-{shard.count}.jsonl"


def other_manifests(folder: Path, shard: Shard) -> list[Path]:
    """Find the manifests of other shards in a folder."""
    own = manifest_path(folder, shard)
    named = re.compile(r"manifest-\d+-of-\d+\.jsonl")
    return sorted(
        p for p in folder.glob("manifest-*.jsonl") if named.fullmatch(p.name) and p != own
    )


def pack(key: Key, rows: Iterable[Row]) -> bytes:
    """Give the bytes of a shard's manifest."""
    head = json.dumps({"soundleap_manifest": VERSION, **asdict(key)}) + "\n"
    return head.encode() + b"".join(row.line() for row in rows)


def read(path: Path) -> tuple[Key, list[Row]]:
    """Read a shard's manifest; a line that a killed run left unfinished is not read.

    A row given twice counts once; the later one holds.

    Raises:
        InputError: if it can't be read or is not one.
    """
    try:
        lines = path.read_bytes().split(b"\n")[
            :-1
        ]  # what follows the last line's end is unfinished
    except OSError as error:
        raise InputError(f"can't read {path}: {error.strerror}") from None
    try:
        key = _key(json.loads(lines[0]))
        rows = [Row(**json.loads(line)) for line in lines[1:]]
    except (ValueError, TypeError, IndexError, KeyError):
        raise InputError(
            f"{path} is not a manifest of this version; move it away, or choose another folder"
        ) from None
    return key, list({row.position: row for row in rows}.values())


def read_key(path: Path) -> Key:
    """Read the first line of a manifest; errors as for `read`."""
    try:
        with path.open("rb") as file:
            return _key(json.loads(file.readline()))
    except (OSError, ValueError, TypeError, KeyError):
        raise InputError(f"{path} is not a manifest of this version; move it away") from None


def merged(folder: Path, key: Key) -> bytes | None:
    """Give the manifest of the whole list, or None while shards are missing or not done.

    Raises:
        InputError: for a shard's manifest of another run.
    """
    rows: dict[int, Row] = {}
    for index in range(1, key.count + 1):
        path = manifest_path(folder, Shard(index, key.count))
        if not path.exists():
            return None
        theirs, found = read(path)
        key.check_same(theirs, path)
        rows.update({row.position: row for row in found})
    if sorted(rows) != list(range(key.total)):
        return None
    return pack(replace(key, count=1), (rows[i] for i in range(key.total)))


def _key(values: Any) -> Key:
    found = cast("dict[str, Any]", values)
    if found["soundleap_manifest"] != VERSION:
        raise ValueError
    return Key(**{field.name: found[field.name] for field in fields(Key)})


def _packed(sample: Sample, names: Sequence[str]) -> bytes:
    return json.dumps([getattr(sample, name) for name in names]).encode() + b"\n"
