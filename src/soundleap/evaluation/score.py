"""From features to a record: the part of an evaluation that sees all clips."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from soundleap.errors import InputError
from soundleap.evaluation.cache import FeatureCache
from soundleap.evaluation.collect import Entry
from soundleap.evaluation.findings import Findings
from soundleap.evaluation.judge_clips import (
    judge_captions,
    judge_classes,
    judge_pairs,
    judge_tags,
)
from soundleap.evaluation.judge_sets import judge_sets
from soundleap.evaluation.machine import hardware, versions
from soundleap.evaluation.record import (
    ClipRow,
    EmbedderInfo,
    EvaluationRecord,
    ProtocolStamp,
    SetCounts,
)
from soundleap.evaluation.settings import EvaluationSettings, settings_hash
from soundleap.evaluation.sounds import kind_of
from soundleap.evaluation.tables import Table, build_table

ROLES = ("generated", "reference")


@dataclass(frozen=True)
class Collected:
    """All that was collected of both sides.

    Attributes:
        settings: of the evaluation.
        infos: the embedders, in order.
        class_names: tagger -> names of its classes.
        pairs: id of a generated clip -> id of its reference clip, where they differ.
        entries: of both sides, each sorted by id.
        protocol: what fixed the settings.
        system: what is judged.
        listing: hash of the list of all clips of both sides.
        seconds: stage -> seconds so far.
        command: the command line.
    """

    settings: EvaluationSettings
    infos: tuple[EmbedderInfo, ...]
    class_names: Mapping[str, tuple[str, ...]]
    pairs: Mapping[str, str]
    entries: Sequence[Entry]
    protocol: ProtocolStamp | None = None
    system: Mapping[str, Any] = field(default_factory=lambda: dict[str, Any]())
    listing: str = ""
    seconds: Mapping[str, float] = field(default_factory=lambda: dict[str, float]())
    command: str | None = None


def score(collected: Collected, cache: FeatureCache) -> EvaluationRecord:
    """Compute all numbers from the features in the cache.

    Features are read one clip at a time and kept in files, not in memory, so the memory needed
    grows only by a few numbers a clip. The order is that of the ids; so shards, listing order and
    batches play no part.

    Raises:
        InputError: no clip of a set can be used.
        SoundleapError: features are not in the cache any more.
    """
    sides = {role: [e for e in collected.entries if e.row.role == role] for role in ROLES}
    for role, entries in sides.items():
        if not any(entry.keys for entry in entries):
            faults = Counter(kind_of(e.row.fault or "unused") for e in entries).most_common(3)
            told = ", ".join(f"{kind} ({count})" for kind, count in faults)
            raise InputError(f"no clip of the {role} set can be used: {told}")
    pairs = {e.row.id: collected.pairs.get(e.row.id, e.row.id) for e in sides["generated"]}
    findings, seconds = Findings(collected.settings), dict(collected.seconds)
    rows: dict[str, dict[str, int]] = {role: {} for role in ROLES}
    for info in collected.infos:
        start = time.perf_counter()
        with _scratch(cache) as folder:
            tables = _tables(sides, info, cache, Path(folder))
            for role, table in tables.items():
                rows[role][info.name] = len(table.rows.rows) if table else 0
            _judge(findings, info, tables, sides, pairs, collected.class_names.get(info.name, ()))
        seconds[f"metrics {info.name}"] = time.perf_counter() - start
    settings = collected.settings.to_dict()
    told = {"settings": settings, "weights": [[i.name, i.weights_sha256] for i in collected.infos]}
    clips = _clip_rows(collected.entries, findings, pairs)
    return EvaluationRecord(
        system=collected.system,
        metrics=tuple(findings.values),
        embedders=collected.infos,
        sets=tuple(_counts(role, clips, rows[role], collected.settings) for role in ROLES),
        confusion=tuple(findings.confusion),
        protocol=collected.protocol,
        settings=settings,
        settings_hash=settings_hash(told),
        seconds=seconds,
        hardware=hardware(),
        versions=versions(),
        command=collected.command,
        clips=clips,
        not_computed=findings.not_computed,
    )


def _scratch(cache: FeatureCache) -> tempfile.TemporaryDirectory[str]:
    """Make a folder for tables beside the features: /tmp may lie in memory."""
    cache.folder.mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryDirectory(
        prefix=".tables-", dir=cache.folder, ignore_cleanup_errors=True
    )


def _tables(
    sides: Mapping[str, Sequence[Entry]], info: EmbedderInfo, cache: FeatureCache, folder: Path
) -> dict[str, Table | None]:
    tables: dict[str, Table | None] = {}
    for role, entries in sides.items():
        (folder / role).mkdir()
        tables[role] = build_table(entries, info, cache, folder / role)
    return tables


def _judge(
    findings: Findings,
    info: EmbedderInfo,
    tables: Mapping[str, Table | None],
    sides: Mapping[str, Sequence[Entry]],
    pairs: Mapping[str, str],
    class_names: Sequence[str],
) -> None:
    ours, theirs = tables["generated"], tables["reference"]
    if ours is None or theirs is None:
        role = "generated" if ours is None else "reference"
        findings.skip("all", info.name, f"no clip of the {role} set can be used")
        return
    judge_sets(findings, info, ours, theirs)
    judge_pairs(findings, info.name, ours, theirs, pairs)
    judge_classes(findings, info.name, ours)
    judge_captions(findings, info, ours, theirs)
    if class_names and not findings.tags:  # the first tagger that names its classes
        for role, table in (("generated", ours), ("reference", theirs)):
            judge_tags(findings, info.name, table, [e.row for e in sides[role]], class_names)


def _clip_rows(
    entries: Sequence[Entry], findings: Findings, pairs: Mapping[str, str]
) -> tuple[ClipRow, ...]:
    usable = {(e.row.role, e.row.id) for e in entries if e.keys}
    partners = {theirs for ours, theirs in pairs.items() if ("generated", ours) in usable}

    def paired(row: ClipRow) -> bool:
        if row.fault is not None:
            return False
        if row.role == "generated":
            return ("reference", pairs[row.id]) in usable
        return row.id in partners

    return tuple(
        dataclasses.replace(
            e.row,
            scores=findings.scores.get((e.row.role, e.row.id), {}) if e.keys else {},
            predicted=findings.predicted.get((e.row.role, e.row.id)) if e.keys else None,
            tags=findings.tags.get((e.row.role, e.row.id), ()) if e.keys else (),
            paired=paired(e.row),
        )
        for e in entries
    )


def _counts(
    role: str, clips: Sequence[ClipRow], rows: Mapping[str, int], settings: EvaluationSettings
) -> SetCounts:
    listed = [clip for clip in clips if clip.role == role]
    used = [clip for clip in listed if clip.fault is None]
    return SetCounts(
        role=role,
        listed=len(listed),
        used=len(used),
        skipped=_sorted_counts(kind_of(clip.fault) for clip in listed if clip.fault is not None),
        changed=_sorted_counts(
            kind for clip in used for kind in sorted({kind_of(note) for note in clip.notes})
        ),
        seconds=float(sum(clip.seconds for clip in used)),
        rows=rows,
        unpaired=sum(not clip.paired for clip in used),
        without_caption=sum(not clip.prompt for clip in used),
        unlabelled=sum(clip.label is None for clip in used) if settings.label_set else 0,
    )


def _sorted_counts(kinds: Any) -> dict[str, int]:
    return dict(sorted(Counter(kinds).items()))
