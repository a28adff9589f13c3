"""Evaluate a set of generated clips against a set of reference clips."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from soundleap.errors import AudioFileError, InputError, unknown_name
from soundleap.evaluation.clips import EvaluationClip, list_clips, load_clip
from soundleap.evaluation.embeddings import ClipFeatures, YamnetEmbedder, is_padded
from soundleap.evaluation.frechet import FrechetResult, frechet
from soundleap.evaluation.report import ClipResult, EvaluationReport, SetSummary
from soundleap.evaluation.tags import (
    ESC10_ALIASES,
    LABEL_SETS,
    Accuracy,
    TagClassifier,
    tag_accuracy,
)

PROJECTED_COMPONENTS = 64


@dataclass(frozen=True)
class _Judged:
    features: list[ClipFeatures]
    results: list[ClipResult]
    accuracy: Accuracy | None
    unlabelled: int


def evaluate_sets(
    generated: str | Path,
    reference: str | Path,
    *,
    embedder: YamnetEmbedder | None = None,
    label_set: str | None = None,
    resample: bool = False,
    on_clip: Callable[[str], None] | None = None,
) -> EvaluationReport:
    """Compute Fréchet distances and, where labels are given, tag accuracies of two sets.

    Clips that can't be used are listed in the report with their reason; they count nowhere else.

    Args:
        generated: folder, or manifest (see `clips.list_clips`).
        reference: the same, of real recordings.
        embedder: None opens a `YamnetEmbedder`.
        label_set: a key of `tags.LABEL_SETS`, e.g. "esc10"; clips whose manifest row has a
            `label` of that set are judged, others are counted as unlabelled.
        resample: convert other sampling rates instead of refusing those clips.
        on_clip: called with each clip's id before it is read (progress).

    Raises:
        InputError: an unknown label set or label, or a set without two feature rows.
        SoundleapError: the embedder is not installed.
    """
    if label_set is not None and label_set not in LABEL_SETS:
        raise unknown_name("label set", label_set, LABEL_SETS)
    lists = {"generated": list_clips(generated), "reference": list_clips(reference)}
    mapping = LABEL_SETS[label_set] if label_set else {}
    for clips in lists.values():
        _check_labels(clips, tuple(mapping))
    embedder = embedder or YamnetEmbedder()
    classifier = TagClassifier(mapping, embedder.class_names) if mapping else None
    judged = {
        role: _judge(role, clips, embedder, classifier, resample, on_clip)
        for role, clips in lists.items()
    }
    distances = _distances(judged["generated"].features, judged["reference"].features)
    return EvaluationReport(
        embedder=embedder.name,
        label_set=label_set,
        frechet=distances,
        sets=tuple(_summary(role, j) for role, j in judged.items()),
        clips=tuple(result for j in judged.values() for result in j.results),
    )


def _canonical(label: str) -> str:
    return ESC10_ALIASES.get(label, label)


def _check_labels(clips: Sequence[EvaluationClip], labels: tuple[str, ...]) -> None:
    for clip in clips:
        if labels and clip.label is not None and _canonical(clip.label) not in labels:
            raise unknown_name("label", clip.label, labels)


def _judge(
    role: str,
    clips: Sequence[EvaluationClip],
    embedder: YamnetEmbedder,
    classifier: TagClassifier | None,
    resample: bool,
    on_clip: Callable[[str], None] | None,
) -> _Judged:
    features: list[ClipFeatures] = []
    results: list[ClipResult] = []
    for clip in clips:
        if on_clip:
            on_clip(clip.id)
        try:
            sound = load_clip(clip, embedder.sampling_rate, resample=resample)
        except AudioFileError as error:
            results.append(ClipResult(role, clip.id, clip.prompt, clip.label, fault=str(error)))
            continue
        features.append(embedder.analyse(sound.waveform))
        notes = (*sound.notes, *(["zero-padded to 0.975 s"] if is_padded(sound.waveform) else []))
        predicted = classifier.predict(features[-1].tags) if classifier else None
        seconds = sound.waveform.size / embedder.sampling_rate
        results.append(
            ClipResult(role, clip.id, clip.prompt, clip.label, seconds, predicted, notes)
        )
    return _Judged(features, results, *_accuracy(results, classifier))


def _accuracy(
    results: Sequence[ClipResult], classifier: TagClassifier | None
) -> tuple[Accuracy | None, int]:
    if classifier is None:
        return None, 0
    usable = [(r.predicted, r.label) for r in results if r.predicted is not None]
    pairs = [(predicted, _canonical(label)) for predicted, label in usable if label is not None]
    unlabelled = len(usable) - len(pairs)
    if not pairs:
        return None, unlabelled
    predictions, truth = zip(*pairs, strict=True)
    return tag_accuracy(predictions, truth, labels=classifier.labels), unlabelled


def _distances(
    generated: Sequence[ClipFeatures], reference: Sequence[ClipFeatures]
) -> tuple[FrechetResult, ...]:
    for role, features in (("generated", generated), ("reference", reference)):
        if not features:
            raise InputError(f"no clip of the {role} set can be used; check format and rate")
    one, two = ([clip.embeds for clip in features] for features in (generated, reference))
    return frechet(one, two), frechet(one, two, components=PROJECTED_COMPONENTS)


def _summary(role: str, judged: _Judged) -> SetSummary:
    return SetSummary(
        role=role,
        used=len(judged.features),
        refused=sum(result.fault is not None for result in judged.results),
        changed=sum(bool(result.notes) for result in judged.results),
        patches=sum(len(clip.embeds) for clip in judged.features),
        seconds=sum(result.seconds for result in judged.results),
        accuracy=judged.accuracy,
        unlabelled=judged.unlabelled,
    )
