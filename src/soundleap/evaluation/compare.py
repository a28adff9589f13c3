"""Systems side by side under one protocol; numbers of different protocols are refused."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from soundleap.errors import InputError
from soundleap.evaluation import report_values as values
from soundleap.evaluation.compare_checks import check_comparable, comparison_notes
from soundleap.evaluation.record import EvaluationRecord, MetricValue

DRAWS = 2000
QUANTILES = (0.025, 0.975)


@dataclass(frozen=True)
class Row:
    """One number of all systems.

    Attributes:
        metric: name.
        embedder: the judge.
        ours: whether the judge is Soundleap's own.
        better: "lower" or "higher".
        values: one entry a system; None where it was not computed.
        best: positions that can't be told apart from the best one: the best value itself, and those
            whose interval touches its interval.
    """

    metric: str
    embedder: str
    ours: bool
    better: str
    values: tuple[MetricValue | None, ...]
    best: tuple[int, ...]


@dataclass(frozen=True)
class Difference:
    """A system against the first one, clip by clip.

    Attributes:
        system: position of the system.
        key: which per-clip value.
        clips: clips that both have.
        mean: mean of (system - first).
        low: lower end of the bootstrap interval over clips (95 %).
        high: upper end.
        better: "lower" or "higher".
    """

    system: int
    key: str
    clips: int
    mean: float
    low: float
    high: float
    better: str


@dataclass(frozen=True)
class Comparison:
    """Systems side by side.

    Attributes:
        stamp: what fixed all numbers, `protocol@hash`.
        names: one name a system, all different.
        rows: the numbers.
        differences: paired differences to the first system.
        notes: what to know before reading the numbers.
        records: the evaluations.
    """

    stamp: str
    names: tuple[str, ...]
    rows: tuple[Row, ...]
    differences: tuple[Difference, ...]
    notes: tuple[str, ...]
    records: tuple[EvaluationRecord, ...]

    def to_json(self) -> str:
        """Write everything but the records as JSON."""
        data = asdict(replace(self, records=()))
        del data["records"]
        data["systems"] = [dict(record.system) for record in self.records]
        return json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def compare_records(records: Sequence[EvaluationRecord]) -> Comparison:
    """Put evaluations side by side; paired differences are against the first.

    Raises:
        InputError: fewer than two, or not comparable (`check_comparable`).
    """
    if len(records) < 2:
        raise InputError(f"{len(records)} evaluations given; needed are at least 2 to compare")
    check_comparable(records)
    named = _with_names(records)
    names = tuple(values.system_name(record) for record in named)
    return Comparison(
        stamp=values.stamp(named[0]),
        names=names,
        rows=tuple(_rows(named)),
        differences=tuple(_differences(named)),
        notes=tuple(comparison_notes(named, names)),
        records=tuple(named),
    )


def _with_names(records: Sequence[EvaluationRecord]) -> list[EvaluationRecord]:
    """Give systems of the same name different ones: "name (2)"."""
    seen: Counter[str] = Counter()
    named: list[EvaluationRecord] = []
    taken = {values.system_name(record) for record in records}
    for record in records:
        name = base = values.system_name(record)
        seen[base] += 1
        while seen[base] > 1 and name in taken:
            name = f"{base} ({seen[base]})"
            seen[base] += name in taken
        taken.add(name)
        named.append(replace(record, system={**record.system, "name": name}))
    return named


def _rows(records: Sequence[EvaluationRecord]) -> list[Row]:
    keys = list(dict.fromkeys((m.metric, m.embedder) for r in records for m in r.metrics))
    rows: list[Row] = []
    for metric, embedder in keys:
        found = tuple(record.metric(metric, embedder) for record in records)
        better = next(value.better for value in found if value is not None)
        own = any(embedder in values.ours(record) for record in records)
        rows.append(Row(metric, embedder, own, better, found, _best(metric, found, better)))
    return rows


def _best(metric: str, found: Sequence[MetricValue | None], better: str) -> tuple[int, ...]:
    there = [(i, value) for i, value in enumerate(found) if value is not None]
    if len(there) < 2 or values.about_recordings(metric):
        return ()
    sign = 1 if better == "lower" else -1
    _, best = min(there, key=lambda pair: sign * pair[1].value)
    return tuple(i for i, value in there if value.value == best.value or _touch(value, best))


def _touch(one: MetricValue, two: MetricValue) -> bool:
    """Whether intervals meet; a number without one stands for itself."""
    low_one, high_one = _ends(one)
    low_two, high_two = _ends(two)
    return low_one <= high_two and low_two <= high_one


def _ends(value: MetricValue) -> tuple[float, float]:
    if value.low is None or value.high is None:
        return value.value, value.value
    return value.low, value.high


def _differences(records: Sequence[EvaluationRecord]) -> list[Difference]:
    first = _scores(records[0])
    found: list[Difference] = []
    for position, record in enumerate(records[1:], start=1):
        other = _scores(record)
        for key in first:
            shared = sorted(first[key].keys() & other.get(key, {}).keys())
            if len(shared) >= 2 and not key.startswith("rank-"):
                gaps = np.array([other[key][i] - first[key][i] for i in shared])
                low, high = bootstrap_mean(gaps)
                better = "higher" if values.higher_is_better(key) else "lower"
                found.append(
                    Difference(position, key, len(shared), float(gaps.mean()), low, high, better)
                )
    return found


def bootstrap_mean(numbers: np.ndarray[Any, Any], *, seed: int = 0) -> tuple[float, float]:
    """Bound a mean by the percentile bootstrap (95 %, 2,000 draws).

    Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13.
    """
    rng = np.random.default_rng(seed)
    size = len(numbers)
    means = np.array([numbers[rng.integers(size, size=size)].mean() for _ in range(DRAWS)])
    low, high = np.quantile(means, QUANTILES)
    return float(low), float(high)


def _scores(record: EvaluationRecord) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for clip in values.used(record, "generated"):
        for key, value in clip.scores.items():
            found.setdefault(key, {})[clip.id] = value
    return found
