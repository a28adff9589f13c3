"""Evaluate a set of generated clips against a set of reference clips."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from soundleap.errors import InputError, unknown_name
from soundleap.evaluation.cache import FeatureCache, default_cache
from soundleap.evaluation.clips import EvaluationClip, list_clips, match_clips
from soundleap.evaluation.collect import Entry, Shard, class_names, collect, infos
from soundleap.evaluation.embedders import open_embedders
from soundleap.evaluation.embedders.base import Embedder
from soundleap.evaluation.protocols.make import SYSTEM_FILE
from soundleap.evaluation.record import EvaluationRecord, ProtocolStamp
from soundleap.evaluation.rewarded import check_judges
from soundleap.evaluation.score import ROLES, Collected, score
from soundleap.evaluation.settings import EvaluationSettings, Matching, settings_hash

OnClip = Callable[[str, str], None]


def evaluate(
    generated: str | Path,
    reference: str | Path,
    settings: EvaluationSettings | None = None,
    *,
    matching: Matching | None = None,
    protocol: ProtocolStamp | None = None,
    system: Mapping[str, Any] | None = None,
    embedders: Sequence[Embedder] | None = None,
    cache: str | Path | None = None,
    device: str = "cpu",
    command: str | None = None,
    on_clip: OnClip | None = None,
) -> EvaluationRecord:
    """Compute the numbers that the settings ask for.

    Clips that can't be used are listed in the record with their reason; they count nowhere else.

    Args:
        generated: folder, or manifest (see `clips.list_clips`).
        reference: the same, of real recordings.
        settings: None takes the defaults (YAMNet, all numbers that apply).
        matching: which clips are judged, their captions and pairs; None takes all, paired by id,
            with the captions of the generated set's manifest, else of the reference clip.
        protocol: what fixed the settings, for the record.
        system: what is judged: `name`, steps, speed, `rewards`; for the record. It goes before what
            `system.json` beside the generated clips tells.
        embedders: open ones to use instead of opening those of the settings.
        cache: folder of features; None takes `cache.default_cache()`.
        device: torch device for the embedders.
        command: the command line, for the record.
        on_clip: called with role and id before a clip is read (progress).

    Raises:
        InputError: an unknown name, a label that the label set lacks, a set without a clip
            that can be used, or an embedder whose network rewarded the system in training.
        SoundleapError: an embedder's package or weights are missing.
    """
    store = FeatureCache(default_cache() if cache is None else cache)
    collected = gather(
        generated,
        reference,
        settings or EvaluationSettings(),
        store,
        matching=matching or Matching(),
        protocol=protocol,
        system=system,
        embedders=embedders,
        device=device,
        command=command,
        on_clip=on_clip,
    )
    return score(collected, store)


def gather(
    generated: str | Path,
    reference: str | Path,
    settings: EvaluationSettings,
    cache: FeatureCache,
    *,
    matching: Matching,
    protocol: ProtocolStamp | None = None,
    system: Mapping[str, Any] | None = None,
    embedders: Sequence[Embedder] | None = None,
    device: str = "cpu",
    shard: Shard | None = None,
    command: str | None = None,
    on_clip: OnClip | None = None,
) -> Collected:
    """Read both sides, or a shard of them, and see that all features are in the cache.

    Arguments and errors as of `evaluate`.
    """
    facts = system_of(generated) | dict(system or {})
    sources = dict(zip(ROLES, (generated, reference), strict=True))
    sides = {r: match_clips(list_clips(s), r, matching) for r, s in sources.items()}
    if matching.captions is None:
        sides["generated"] = _borrow_captions(sides, matching)
    check_labels(settings.label_set, [clip for side in sides.values() for clip in side])
    start = time.perf_counter()
    opened = list(embedders or ())
    if embedders is None:
        opened = open_embedders(settings.embedders, settings.weights, device=device)
    settings = dataclasses.replace(settings, embedders=tuple(e.info.name for e in opened))
    check_judge(settings.label_set, class_names(opened))
    check_judges(facts, infos(opened))
    loaded = time.perf_counter()
    entries: list[Entry] = []
    for role, clips in sides.items():
        entries += collect(role, clips, opened, settings.preparation, cache, shard, on_clip)
    return Collected(
        settings=settings,
        infos=infos(opened),
        class_names=class_names(opened),
        pairs=dict(matching.references or {}),
        entries=entries,
        protocol=protocol,
        listing=_listing(sides),
        system=facts,
        seconds={
            "opening embedders": loaded - start,
            "reading and embedding": time.perf_counter() - loaded,
        },
        command=command,
    )


def _borrow_captions(
    sides: Mapping[str, Sequence[EvaluationClip]], matching: Matching
) -> list[EvaluationClip]:
    """Give generated clips without a caption that of their reference clip."""
    known = {clip.id: clip.prompt for clip in sides["reference"] if clip.fault is None}
    return [
        dataclasses.replace(clip, prompt=clip.prompt or known.get(matching.reference_of(clip.id)))
        for clip in sides["generated"]
    ]


def _listing(sides: Mapping[str, Sequence[EvaluationClip]]) -> str:
    rows = [
        [role, clip.id, clip.file, clip.start_in_s, clip.duration_in_s]
        for role, clips in sides.items()
        for clip in clips
    ]
    return settings_hash({"clips": rows})


def system_of(generated: str | Path) -> dict[str, Any]:
    """Read `system.json` beside generated clips; without a name there the folder's is taken.

    Raises:
        InputError: if it can't be read.
    """
    source = Path(generated).resolve()
    folder = source if source.is_dir() else source.parent
    path = folder / SYSTEM_FILE
    try:
        data = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, ValueError) as error:
        raise InputError(f"can't read {path}: {error}") from None
    if not isinstance(data, dict):
        raise InputError(f"{path} holds no JSON object")
    return {"name": folder.name or source.stem} | cast("dict[str, Any]", data)


def check_labels(label_set: str | None, clips: Sequence[EvaluationClip]) -> None:
    """Refuse an unknown label set, and labels that it lacks.

    Raises:
        InputError: naming the nearest known one.
    """
    from soundleap.evaluation.tags import ESC10_ALIASES, LABEL_SETS

    if label_set is None:
        return
    if label_set not in LABEL_SETS:
        raise unknown_name("label set", label_set, LABEL_SETS)
    for label in {clip.label for clip in clips if clip.label is not None}:
        if ESC10_ALIASES.get(label, label) not in LABEL_SETS[label_set]:
            raise unknown_name("label", label, LABEL_SETS[label_set])


def check_judge(label_set: str | None, names: Mapping[str, Sequence[str]]) -> None:
    """Refuse a label set where no embedder names classes.

    Raises:
        InputError: saying which embedder does.
    """
    if label_set is not None and not names:
        raise InputError(
            f"label set {label_set!r} needs an embedder that names classes; add --embedder yamnet"
        )
