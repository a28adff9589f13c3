"""From the options of `soundleap evaluate` to an evaluation."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from soundleap.errors import InputError
from soundleap.evaluation.cache import FeatureCache, default_cache
from soundleap.evaluation.record import EvaluationRecord, ProtocolStamp
from soundleap.evaluation.run import gather
from soundleap.evaluation.score import Collected, score
from soundleap.evaluation.settings import EvaluationSettings, Matching, Preparation
from soundleap.evaluation.shards import parse_shard, write_shard

FIXED = ("captions", "resample", "max_seconds", "min_seconds", "level", "metric", "labels")
"""Options that a protocol fixes."""


@dataclass
class Plan:
    """An evaluation that is ready to run."""

    generated: Path
    reference: Path
    settings: EvaluationSettings
    matching: Matching
    stamp: ProtocolStamp | None
    system: dict[str, Any]
    cache: Path
    device: str
    shard: str | None
    output: Path | None
    command: str = ""

    def run(self) -> EvaluationRecord:
        """Evaluate."""
        store = FeatureCache(self.cache)
        return score(self._gather(store, None), store)

    def run_shard(self) -> Path:
        """Do one part and write it."""
        if self.shard is None or self.output is None:
            raise InputError("--shard needs --output: the folder that all shards are written to")
        return write_shard(
            self._gather(FeatureCache(self.cache), self.shard), parse_shard(self.shard), self.output
        )

    def _gather(self, store: FeatureCache, shard: str | None) -> Collected:
        from tqdm import tqdm

        with tqdm(desc="reading and embedding", unit="clip", disable=None, leave=False) as bar:
            return gather(
                self.generated,
                self.reference,
                self.settings,
                store,
                matching=self.matching,
                protocol=self.stamp,
                system=self.system,
                device=self.device,
                shard=None if shard is None else parse_shard(shard),
                command=self.command or None,
                on_clip=lambda role, clip: _advance(bar, role),
            )


def _advance(bar: Any, role: str) -> None:
    bar.set_postfix_str(role, refresh=False)
    bar.update()


def make_plan(options: Mapping[str, Any]) -> Plan:
    """Check the options together.

    Args:
        options: values by name, and under `given` the names that the user gave.

    Raises:
        InputError: options that don't go together, or values that are not allowed.
    """
    protocol = _protocol(options)
    shard, output, cache = options["shard"], options["output"], options["cache"]
    if shard is not None:
        parse_shard(shard)
        if output is None:
            raise InputError("--shard needs --output: the folder that all shards are written to")
        cache = cache or output / "cache"
    return Plan(
        generated=options["generated"],
        reference=options["reference"],
        settings=_settings(options, protocol),
        matching=_matching(options, protocol),
        stamp=None if protocol is None else protocol.stamp(),
        system=_system(options["system"] or ()),
        cache=cache or default_cache(),
        device=options["device"],
        shard=shard,
        output=output,
    )


def _protocol(options: Mapping[str, Any]) -> Any:
    """Load the protocol, if there is one."""
    if options["protocol"] is None:
        if options["protocol_list"] is not None:
            raise InputError("--list belongs to --protocol; give both or none")
        return None
    clash = [name for name in FIXED if name in options["given"]]
    if clash:
        told = ", ".join("--" + name.replace("_", "-") for name in clash)
        raise InputError(f"the protocol fixes {told}; leave it out, or the protocol")
    from soundleap.evaluation.protocols import load_protocol

    found: Any = load_protocol(options["protocol"], list_file=options["protocol_list"])
    if options["embedder"]:
        found = found.with_embedders(tuple(options["embedder"]))
    found.check_reference(options["reference"])
    return found


def _settings(options: Mapping[str, Any], protocol: Any) -> EvaluationSettings:
    common = EvaluationSettings(bootstrap=options["bootstrap"], seed=options["seed"])
    if protocol is not None:
        names = protocol.embedders
        chosen: dict[str, Any] = {
            "metrics": protocol.metrics,
            "label_set": protocol.label_set,
            "preparation": protocol.preparation,
        }
    else:
        names = tuple(options["embedder"] or common.embedders)
        chosen = {
            "metrics": tuple(options["metric"]) if options["metric"] else None,
            "label_set": options["labels"],
            "preparation": Preparation(
                resample=options["resample"],
                max_seconds=options["max_seconds"],
                min_seconds=options["min_seconds"],
                level_in_dbfs=options["level"],
            ),
        }
    weights = dict(_pair("weights", text) for text in options["weights"] or ())
    return dataclasses.replace(common, embedders=names, weights=weights, **chosen)


def _matching(options: Mapping[str, Any], protocol: Any) -> Matching:
    if protocol is not None:
        return Matching(
            ids=protocol.ids,
            captions=protocol.captions,
            labels=protocol.labels or None,
            references=protocol.references,
            resolve=protocol.resolve,
        )
    if options["captions"] is None:
        return Matching()
    from soundleap.evaluation.captions import read_caption_file

    return Matching(captions=read_caption_file(options["captions"]))


def _system(told: Sequence[str]) -> dict[str, Any]:
    pairs = [_pair("system", text) for text in told]
    return {name: _number(value) for name, value in pairs}


def _pair(option: str, text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise InputError(f"--{option} is {text!r}; expected NAME=VALUE")
    return name, value


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            value = kind(text)
        except ValueError:
            continue
        return value if math.isfinite(value) else text
    return text
