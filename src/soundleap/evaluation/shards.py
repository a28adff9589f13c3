"""An evaluation in parts, on one machine or many: parts are written, then merged and scored."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from soundleap.errors import InputError
from soundleap.evaluation.cache import FeatureCache
from soundleap.evaluation.collect import Entry, Shard
from soundleap.evaluation.record import EmbedderInfo, EvaluationRecord, ProtocolStamp
from soundleap.evaluation.record_io import write_atomically
from soundleap.evaluation.score import ROLES, Collected, score
from soundleap.evaluation.settings import EvaluationSettings, Preparation

FORMAT_VERSION = 1


def parse_shard(text: str) -> Shard:
    """Read "2/8".

    Raises:
        InputError: another form, or out of range.
    """
    index, _, count = text.partition("/")
    if not (index.isascii() and index.isdigit() and count.isascii() and count.isdigit()):
        raise InputError(f"shard is {text!r}; expected INDEX/COUNT, e.g. 2/8")
    return Shard(int(index), int(count))


def write_shard(collected: Collected, shard: Shard, folder: str | Path) -> Path:
    """Write what a shard collected into `folder/shard-INDEX-of-COUNT.json`; return that path.

    The features themselves stay in the cache that it was collected with.
    """
    data = {
        "format_version": FORMAT_VERSION,
        "shard": [shard.index, shard.count],
        "common": _common(collected),
        "seconds": dict(collected.seconds),
        "command": collected.command,
        "entries": [entry.to_dict() for entry in collected.entries],
    }
    path = Path(folder) / f"shard-{shard.index}-of-{shard.count}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(data, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(path, text.encode())
    return path


def merge_shards(folders: Sequence[str | Path], cache: str | Path) -> EvaluationRecord:
    """Put shards together and compute all numbers: the same as without shards, to the bit.

    Args:
        folders: that hold the shards' files between them.
        cache: folder with the features of all shards.

    Raises:
        InputError: a shard is missing, is there twice, or was made with other settings.
        SoundleapError: features are not in the cache.
    """
    parts = [_read(path) for folder in folders for path in sorted(_files(Path(folder)))]
    if not parts:
        raise InputError(f"no shard-*-of-*.json in {', '.join(map(str, folders))}")
    _check(parts)
    entries = [Entry.from_dict(entry) for part in parts for entry in part["entries"]]
    entries.sort(key=lambda e: (ROLES.index(e.row.role), e.row.id, e.row.file))
    seconds: dict[str, float] = {}
    for part in parts:
        for stage, value in part["seconds"].items():
            seconds[stage] = seconds.get(stage, 0.0) + value
    return score(_collected(parts[0], entries, seconds), FeatureCache(cache))


def _common(collected: Collected) -> dict[str, Any]:
    """What all shards of an evaluation must share, as it comes back from JSON."""
    data = {
        "settings": collected.settings.to_dict(),
        "embedders": [dataclasses.asdict(info) for info in collected.infos],
        "class_names": {name: list(names) for name, names in collected.class_names.items()},
        "pairs": dict(collected.pairs),
        "protocol": dataclasses.asdict(collected.protocol) if collected.protocol else None,
        "system": dict(collected.system),
        "listing": collected.listing,
    }
    return json.loads(json.dumps(data))


def _files(folder: Path) -> list[Path]:
    return list(folder.glob("shard-*-of-*.json"))


def _read(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"can't read {path}: {error}") from None
    if not isinstance(data, dict) or data.get("format_version") != FORMAT_VERSION:
        raise InputError(f"{path} is not a shard of format {FORMAT_VERSION}")
    return data


def _check(parts: Sequence[dict[str, Any]]) -> None:
    counts = {part["shard"][1] for part in parts}
    if len(counts) > 1:
        raise InputError(f"shards of different counts: {sorted(counts)}; merge one evaluation")
    for part in parts:
        for name, value in part["common"].items():
            if value != parts[0]["common"][name]:
                told = "list of clips" if name == "listing" else name
                raise InputError(f"shard {part['shard'][0]} was made with another {told}")
    found = sorted(part["shard"][0] for part in parts)
    wanted = list(range(1, counts.pop() + 1))
    if found != wanted:
        missing = [i for i in wanted if i not in found]
        twice = sorted({i for i in found if found.count(i) > 1})
        raise InputError(f"shards are missing: {missing}, there twice: {twice}")


def _collected(
    part: dict[str, Any], entries: Sequence[Entry], seconds: dict[str, float]
) -> Collected:
    common = part["common"]
    protocol = common["protocol"]
    return Collected(
        settings=_settings(common["settings"]),
        infos=tuple(EmbedderInfo(**info) for info in common["embedders"]),
        class_names={name: tuple(names) for name, names in common["class_names"].items()},
        pairs=common["pairs"],
        entries=entries,
        protocol=None if protocol is None else ProtocolStamp(**protocol),
        system=common["system"],
        listing=common["listing"],
        seconds=seconds,
        command=part["command"],
    )


def _settings(data: dict[str, Any]) -> EvaluationSettings:
    metrics = data["metrics"]
    values: dict[str, Any] = {
        **data,
        "embedders": tuple(data["embedders"]),
        "metrics": None if metrics is None else tuple(metrics),
        "preparation": Preparation(**data["preparation"]),
    }
    return EvaluationSettings(**values)
