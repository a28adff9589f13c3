"""Quality against effort: one plot for each number and kind of effort."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from soundleap.evaluation import report_values as values
from soundleap.evaluation.record import EvaluationRecord, MetricValue
from soundleap.evaluation.report_page import escape
from soundleap.evaluation.report_plots import Point, scatter

SHOWN_METRICS = ("fd", "fd-inf", "fd-pca64", "kad", "kl", "text-score", "accuracy-generated")
"""What is drawn, in this order; of "fd-..." the first that is there."""

MOST_METRICS = 4

EFFORTS: dict[str, Callable[[Mapping[str, Any]], float | None]] = {
    "network queries or solver steps": values.steps,
    "seconds of work for a second of sound": values.seconds_per_second,
}


def plots(records: Sequence[EvaluationRecord]) -> str:
    """Draw numbers that at least two systems have against their steps and their speed.

    Returns:
        HTML of the figures; empty if there is nothing to compare.
    """
    figures = [
        _figure(records, metric, embedder, effort)
        for metric, embedder in _chosen(records)
        for effort in EFFORTS
    ]
    found = [figure for figure in figures if figure]
    return '<div class="plots">\n' + "\n".join(found) + "\n</div>" if found else ""


def _chosen(records: Sequence[EvaluationRecord]) -> list[tuple[str, str]]:
    """Choose (metric, judge): of each kind one, of a judge that is not our own if there is one."""
    chosen: list[tuple[str, str]] = []
    kinds: set[str] = set()
    for metric in SHOWN_METRICS:
        kind = metric.partition("-")[0]
        judges = list(
            dict.fromkeys(m.embedder for r in records for m in r.metrics if m.metric == metric)
        )
        if not judges or kind in kinds or len(chosen) == MOST_METRICS:
            continue
        own = frozenset[str]().union(*(values.ours(record) for record in records))
        chosen.append((metric, min(judges, key=lambda name: name in own)))
        kinds.add(kind)
    return chosen


def _figure(records: Sequence[EvaluationRecord], metric: str, embedder: str, effort: str) -> str:
    points: list[Point] = []
    better = "lower"
    for record in records:
        value, x = record.metric(metric, embedder), EFFORTS[effort](record.system)
        if value is not None and x is not None:
            points.append(_point(record, value, x))
            better = value.better
    if len(points) < 2:
        return ""
    name = values.metric_name(metric)
    drawn = scatter(points, x_name=effort, y_name=name, better=better)
    name += f", {values.judge(records[0], embedder)}"
    text = (
        f"{name} against {effort}. Bars: intervals. Dashed: systems that no other beats in both. "
        f"{values.stamp(records[0])}"
    )
    return f"<figure>{drawn}<figcaption>{escape(text)}</figcaption></figure>"


def _point(record: EvaluationRecord, value: MetricValue, x: float) -> Point:
    return Point(values.system_name(record), x, value.value, value.low, value.high)
