"""What the judges of an evaluation find is gathered here."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from soundleap.evaluation.features import FloatArray
from soundleap.evaluation.intervals import centred_interval, interval_note
from soundleap.evaluation.record import Confusion, MetricValue
from soundleap.evaluation.settings import EvaluationSettings

BOUNDS = {
    "fd": (0.0, math.inf),
    "fd-pca64": (0.0, math.inf),
    "is": (1.0, math.inf),
    "density": (0.0, math.inf),
    "coverage": (0.0, 1.0),
    "text-score": (-1.0, 1.0),
    "text-score-reference": (-1.0, 1.0),
}
"""Values that a number can take, where they are limited."""

HIGHER = ("is", "is-10", "density", "coverage")


class Findings:
    """Numbers, values of single clips, and reasons for what is missing.

    Args:
        settings: of the evaluation.
    """

    def __init__(self, settings: EvaluationSettings) -> None:
        self.settings = settings
        self.values: list[MetricValue] = []
        self.confusion: list[Confusion] = []
        self.not_computed: dict[str, str] = {}
        self.scores: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
        self.predicted: dict[tuple[str, str], str] = {}
        self.tags: dict[tuple[str, str], tuple[str, ...]] = {}

    def wants(self, metric: str) -> bool:
        """Whether a group of numbers is asked for."""
        return self.settings.wants(metric)

    def skip(self, metric: str, embedder: str, reason: str) -> None:
        """Say why a number is not there."""
        self.not_computed[f"{metric} {embedder}"] = reason

    def cannot(self, metric: str, embedder: str, reason: str) -> None:
        """Say why an embedder can't give a number at all, if it was asked for by name."""
        if self.settings.metrics and metric in self.settings.metrics:
            self.skip(metric, embedder, reason)

    def add(
        self,
        metric: str,
        embedder: str,
        value: float,
        counts: tuple[int, int],
        *,
        draws: FloatArray | None = None,
        interval: tuple[float, float] | None = None,
        details: Mapping[str, Any] | None = None,
        warnings: tuple[str, ...] = (),
    ) -> None:
        """Add a number.

        Args:
            metric: its name.
            embedder: whose features it comes from.
            value: the number.
            counts: clips of the generated and of the reference set that entered.
            draws: its values for resampled sets, for the interval.
            interval: the interval itself, where it is made otherwise.
            details: what else belongs to it.
            warnings: sentences that belong beside it.
        """
        told = dict(details or {})
        low, high = interval or (None, None)
        if interval is None and "interval" not in told:
            bounds = BOUNDS.get(metric, (-math.inf, math.inf))
            low, high = (None, None) if draws is None else centred_interval(value, draws, bounds)
            told["interval"] = interval_note(0 if draws is None else len(draws))
        better = (
            "higher"
            if metric in HIGHER or metric.startswith(("text", "recall", "acc"))
            else "lower"
        )
        self.values.append(
            MetricValue(metric, embedder, float(value), low, high, better, *counts, told, warnings)
        )

    def score(self, role: str, clip: str, name: str, value: float) -> None:
        """Add the value of a single clip."""
        self.scores[role, clip][name] = float(value)
