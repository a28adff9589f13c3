"""What must be the same before numbers stand side by side, and what to say where it is not."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from soundleap.errors import InputError
from soundleap.evaluation import report_values as values
from soundleap.evaluation.record import EvaluationRecord

FREE_SETTINGS = ("bootstrap", "embedders", "metrics", "seed")
"""Settings that may differ: they change intervals and what was computed, not what a number means.
(The seed also draws the subsets of "fd-inf"; that is told.)"""


def check_comparable(records: Sequence[EvaluationRecord]) -> None:
    """Refuse evaluations whose numbers mean different things.

    Compared are the protocol's hash, the settings that change numbers, the files of the recordings
    that were used, and the weights of judges of the same name.

    Raises:
        InputError: naming the first difference.
    """
    first = records[0]
    for other in records[1:]:
        pair = f"{values.system_name(first)!r} and {values.system_name(other)!r}"
        if _protocol_hash(first) != _protocol_hash(other):
            raise InputError(
                f"{pair} were measured under different protocols ({_told(first)} and "
                f"{_told(other)}): numbers can't be compared; evaluate both under one"
            )
        different = _different_settings(first.settings, other.settings)
        if different:
            name, one, two = different
            raise InputError(
                f"{pair} were measured with different settings: {name} is {one!r} and {two!r}"
            )
        _check_judges(first, other, pair)
        _check_recordings(first, other, pair)


def _protocol_hash(record: EvaluationRecord) -> str | None:
    return record.protocol.hash if record.protocol else None


def _told(record: EvaluationRecord) -> str:
    return values.stamp(record) if record.protocol else "no protocol"


def _different_settings(
    one: Mapping[str, Any], two: Mapping[str, Any]
) -> tuple[str, Any, Any] | None:
    for name in sorted({*one, *two}.difference(FREE_SETTINGS)):
        if one.get(name) != two.get(name):
            return name, one.get(name), two.get(name)
    return None


def _check_judges(one: EvaluationRecord, two: EvaluationRecord, pair: str) -> None:
    theirs = {embedder.name: embedder for embedder in two.embedders}
    for embedder in one.embedders:
        other = theirs.get(embedder.name, embedder)
        if embedder.weights_sha256 != other.weights_sha256:
            raise InputError(
                f"{pair} were judged by different weights of {embedder.name}: SHA-256 "
                f"{embedder.weights_sha256[:12]} and {other.weights_sha256[:12]}"
            )


def _check_recordings(one: EvaluationRecord, two: EvaluationRecord, pair: str) -> None:
    ours, theirs = (_recordings(record) for record in (one, two))
    if ours is None or theirs is None or ours == theirs:
        return
    changed = [name for name in ours if name in theirs and ours[name] != theirs[name]]
    only = ours.keys() ^ theirs.keys()
    raise InputError(
        f"{pair} were compared with different recordings: {len(changed)} files differ and "
        f"{len(only)} were used by one alone, first {sorted([*changed, *only])[0]!r}"
    )


def _recordings(record: EvaluationRecord) -> dict[str, str] | None:
    """Hash of each recording that was used, by id; None if the record does not tell all of them."""
    rows = values.used(record, "reference")
    hashes = {clip.id: clip.sha256 for clip in rows if clip.sha256 is not None}
    return hashes if rows and len(hashes) == len(rows) else None


def comparison_notes(records: Sequence[EvaluationRecord], names: Sequence[str]) -> list[str]:
    """List what to know before reading the numbers of comparable evaluations.

    Args:
        records: the evaluations.
        names: of their systems, all different.
    """
    notes: list[str] = []
    if records[0].protocol is None:
        notes.append("No protocol: only the settings are known to be the same, not the lists.")
    ids = [{clip.id for clip in values.used(record, "generated")} for record in records]
    everything = set[str]().union(*ids)
    notes += [
        f"{name} has {len(mine)} of {len(everything)} clips: its numbers cover fewer."
        for name, mine in zip(names, ids, strict=True)
        if everything and len(mine) < len(everything)
    ]
    if len({record.settings.get("seed") for record in records}) > 1:
        notes.append("Seeds differ: intervals and fd-inf were drawn differently.")
    if any(_recordings(record) is None for record in records):
        notes.append("Hashes of the recordings are not recorded: equal files were not checked.")
    return notes + _speed_notes(records, names) + _shared_warnings(records, names)


def _speed_notes(records: Sequence[EvaluationRecord], names: Sequence[str]) -> list[str]:
    slow = zip(names, (values.speed_note(record.system) for record in records), strict=True)
    notes = [f"{name}: {text}" for name, text in slow if text]
    machines = {json.dumps(_machine(r.system)) for r in records if "machine" in r.system}
    if len(machines) > 1:
        notes.append("Speeds were measured on different machines, devices or numbers of threads.")
    return notes


def _machine(system: Mapping[str, Any]) -> list[Any]:
    machine: Any = system["machine"]
    return [machine.get(key) for key in ("cpu", "device", "device_name", "threads")]


def _shared_warnings(records: Sequence[EvaluationRecord], names: Sequence[str]) -> list[str]:
    """List every warning once, with the systems that it is about."""
    about: dict[str, list[str]] = {}
    for name, record in zip(names, records, strict=True):
        for text in values.warnings(record):
            about.setdefault(text, []).append(name)
    return [
        f"{'all' if len(who) == len(names) else ', '.join(who)}: {text}"
        for text, who in about.items()
    ]
