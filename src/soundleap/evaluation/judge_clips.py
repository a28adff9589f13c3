"""Numbers made of single clips: divergence of pairs, inception score, captions, labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from soundleap.evaluation.captioned import caption_fit, own_cosines
from soundleap.evaluation.classes import KL_OFFSET, divergences, inception_score
from soundleap.evaluation.features import Features, FloatArray, IntArray
from soundleap.evaluation.findings import Findings
from soundleap.evaluation.intervals import bootstrap_weights
from soundleap.evaluation.record import ClipRow, Confusion, EmbedderInfo
from soundleap.evaluation.tables import Table
from soundleap.evaluation.tags import (
    ESC10_ALIASES,
    LABEL_SETS,
    TagClassifier,
    tag_accuracy,
    wilson_interval,
)

RECALLS = (1, 10)
TOP_TAGS = 3


def judge_pairs(
    findings: Findings, name: str, ours: Table, theirs: Table, pairs: Mapping[str, str]
) -> None:
    """Divergence of the classes of pairs.

    Args:
        findings: to add to.
        name: of the embedder.
        ours: of the generated set.
        theirs: of the reference set.
        pairs: id of a generated clip -> id of its reference clip.
    """
    if not findings.wants("kl"):
        return
    if ours.logits is None or theirs.logits is None:
        findings.cannot("kl", name, "it is no tagger")
        return
    there = {clip: i for i, clip in enumerate(theirs.ids)}
    rows = [(i, there[pairs[c]]) for i, c in enumerate(ours.ids) if pairs.get(c) in there]
    if not rows:
        findings.skip("kl", name, "no clip of the one set has its pair in the other")
        return
    values = divergences(ours.logits, theirs.logits, np.array(rows))
    for (i, _), value in zip(rows, values, strict=True):
        findings.score("generated", ours.ids[i], f"kl {name}", value)
    details = {
        "direction": "reference to generated",
        "classes": "softmax of logits averaged over patches",
        "offset": KL_OFFSET,
        "pairs": len(rows),
    }
    references = len({j for _, j in rows})
    draws = _mean_draws(findings, values)
    findings.add("kl", name, values.mean(), (len(rows), references), draws=draws, details=details)


def judge_classes(findings: Findings, name: str, ours: Table) -> None:
    """Inception score of the generated set."""
    if not findings.wants("is"):
        return
    if ours.logits is None:
        findings.cannot("is", name, "it is no tagger")
        return
    draws = findings.settings.bootstrap
    weights = bootstrap_weights(ours.logits.clips, draws, findings.settings.seed) if draws else None
    found = inception_score(ours.logits, weights)
    counts = (ours.logits.clips, 0)
    findings.add("is", name, found.value, counts, draws=found.draws)
    if found.split_mean is not None:
        details = {"splits": 10, "std": found.split_std, "interval": "none (std over the parts)"}
        findings.add("is-10", name, found.split_mean, counts, details=details)


def judge_captions(findings: Findings, info: EmbedderInfo, ours: Table, theirs: Table) -> None:
    """Cosine and retrieval of sounds and captions."""
    wanted = [m for m in ("text-score", "recall") if findings.wants(m)]
    for metric in wanted:
        if not info.has_text:
            findings.cannot(metric, info.name, "it does not embed captions")
        elif ours.texts is None:
            findings.skip(metric, info.name, "no generated clip has a caption")
    if not wanted or ours.spoken is None or ours.texts is None:
        return
    fit = caption_fit(ours.spoken, ours.texts.rows, ours.captions)
    for i, clip in enumerate(ours.captioned):
        findings.score("generated", clip, f"text-score {info.name}", fit.cosines[i])
        findings.score("generated", clip, f"rank-text-to-audio {info.name}", fit.text_ranks[i])
        findings.score("generated", clip, f"rank-audio-to-text {info.name}", fit.audio_ranks[i])
    if "text-score" in wanted:
        _text_scores(findings, info.name, fit.cosines, theirs)
    if "recall" in wanted:
        for way, ranks in (("text-to-audio", fit.text_ranks), ("audio-to-text", fit.audio_ranks)):
            _recall(findings, info.name, way, ranks, fit.captions)


def _text_scores(findings: Findings, name: str, cosines: FloatArray, theirs: Table) -> None:
    count = len(cosines)
    details = {
        "unit": "cosine, -1 to 1",
        "mean_of_positive_parts": float(np.maximum(cosines, 0).mean()),
    }
    draws = _mean_draws(findings, cosines)
    findings.add("text-score", name, cosines.mean(), (count, 0), draws=draws, details=details)
    if theirs.spoken is None or theirs.texts is None:
        return
    real = own_cosines(theirs.spoken, theirs.texts.rows)
    for clip, value in zip(theirs.captioned, real, strict=True):
        findings.score("reference", clip, f"text-score {name}", value)
    draws, counts = _mean_draws(findings, real), (0, len(real))
    findings.add("text-score-reference", name, real.mean(), counts, draws=draws)


def _recall(findings: Findings, name: str, way: str, ranks: IntArray, captions: int) -> None:
    for depth in RECALLS:
        right = int((ranks <= depth).sum())
        findings.add(
            f"recall-{way}-{depth}",
            name,
            right / len(ranks),
            (len(ranks), 0),
            interval=wilson_interval(right, len(ranks)),
            details={
                "interval": "Wilson 95 %, among these candidates",
                "different_captions": captions,
                "median_rank": float(np.median(ranks)),
            },
        )


def judge_tags(
    findings: Findings, name: str, table: Table, rows: Sequence[ClipRow], names: Sequence[str]
) -> None:
    """Likeliest classes of every clip and, with a label set, how many clips give their label.

    Args:
        findings: to add to.
        name: of the embedder.
        table: of one side.
        rows: of the same side, all clips.
        names: of the tagger's classes.
    """
    if table.tags is None:
        return
    role, label_set = rows[0].role, findings.settings.label_set
    classifier = TagClassifier(LABEL_SETS[label_set], names) if label_set else None
    labels = {row.id: row.label for row in rows}
    predicted: list[str] = []
    truth: list[str] = []
    for clip, scores in zip(table.ids, _each_row(table.tags), strict=True):
        best = np.argsort(-scores, kind="stable")[:TOP_TAGS]
        findings.tags[role, clip] = tuple(names[int(i)] for i in best)
        if classifier:
            findings.predicted[role, clip] = classifier.predict(scores[None])
            label = labels[clip]
            if label is not None:
                predicted.append(findings.predicted[role, clip])
                truth.append(ESC10_ALIASES.get(label, label))
    if classifier and predicted and findings.wants("accuracy"):
        _accuracy(findings, name, role, classifier, (predicted, truth))


def _accuracy(
    findings: Findings,
    name: str,
    role: str,
    classifier: TagClassifier,
    judged: tuple[list[str], list[str]],
) -> None:
    found = tag_accuracy(*judged, labels=classifier.labels)
    counts = (found.count, 0) if role == "generated" else (0, found.count)
    details = {
        "interval": "Wilson 95 %",
        "correct": found.correct,
        "label_set": findings.settings.label_set,
    }
    interval = (found.low, found.high)
    findings.add(
        f"accuracy-{role}", name, found.accuracy, counts, interval=interval, details=details
    )
    findings.confusion.append(Confusion(role, name, found.labels, found.confusion))


def _each_row(features: Features) -> Iterator[FloatArray]:
    for _, block in features.blocks():
        yield from block


def _mean_draws(findings: Findings, values: FloatArray) -> FloatArray:
    """Means of resampled sets of values."""
    draws = findings.settings.bootstrap
    if draws == 0:
        return np.zeros(0)
    weights = bootstrap_weights(len(values), draws, findings.settings.seed)
    return values @ weights / len(values)
