"""What a caller fixes about an evaluation. Light: nothing heavy is imported here."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from soundleap.errors import InputError, check_range, unknown_name

METRICS = {
    "fd": "Fréchet distance over all dimensions",
    "fd-pca64": "Fréchet distance on the reference's 64 principal components",
    "fd-inf": "Fréchet distance extrapolated to infinitely many generated clips",
    "kad": "kernel distance, Gaussian kernel, unbiased",
    "kid": "kernel distance, cubic kernel, unbiased",
    "kl": "Kullback-Leibler divergence of the classes of each pair",
    "is": "inception score",
    "text-score": "cosine of sound and caption",
    "recall": "retrieval R@1 and R@10 between sounds and captions",
    "density-coverage": "density and coverage (diversity)",
    "accuracy": "share of clips whose tags give their label",
}
"""Groups of numbers that can be asked for, and what they are."""


@dataclass(frozen=True)
class Preparation:
    """What is done to every clip between its file and an embedder.

    Channels are averaged (and noted). The order is: read, average, cut, level, resample.

    Attributes:
        resample: convert other sampling rates instead of refusing those clips.
        max_seconds: cut longer clips after this many seconds; None keeps them whole.
        min_seconds: refuse shorter clips.
        level_in_dbfs: scale to this active RMS level, or less where the peak would pass 0.95
            (`audio.loudness`); None keeps the level.
        resampler: how rates are converted; there is one way.
    """

    resample: bool = False
    max_seconds: float | None = None
    min_seconds: float = 0.0
    level_in_dbfs: float | None = None
    resampler: str = "soxr VHQ"

    def __post_init__(self) -> None:
        check_range("min_seconds", self.min_seconds, 0, math.inf, "s")
        if self.max_seconds is not None:
            check_range("max_seconds", self.max_seconds, max(self.min_seconds, 0.01), 1e6, "s")
        if self.level_in_dbfs is not None:
            check_range("level_in_dbfs", self.level_in_dbfs, -60, 0, "dBFS")
        if self.resampler != "soxr VHQ":
            raise InputError(f"resampler is {self.resampler!r}; allowed: 'soxr VHQ'")


@dataclass(frozen=True)
class EvaluationSettings:
    """How to evaluate.

    Attributes:
        embedders: names from `embedders.EMBEDDERS`.
        weights: embedder -> path of its weights, for those that need a file of yours.
        metrics: keys of `METRICS`; None computes all that apply.
        label_set: a key of `tags.LABEL_SETS`, e.g. "esc10", or None.
        preparation: what is done to every clip.
        bootstrap: number of draws over clips for the intervals; 0 gives none.
        seed: of the draws and of the subsets of "fd-inf".
        nearest: k of density and coverage.
        pair_rows: rows a set at most in the distances that compare all pairs ("kad", "kid"); of
            more, evenly spaced clips are taken, and the result says so.
    """

    embedders: tuple[str, ...] = ("yamnet",)
    weights: Mapping[str, str] = field(default_factory=lambda: dict[str, str]())
    metrics: tuple[str, ...] | None = None
    label_set: str | None = None
    preparation: Preparation = Preparation()
    bootstrap: int = 100
    seed: int = 0
    nearest: int = 5
    pair_rows: int = 20_000

    def __post_init__(self) -> None:
        if not self.embedders or len(set(self.embedders)) != len(self.embedders):
            raise InputError(
                f"embedders is {list(self.embedders)}; allowed: one or more, once each"
            )
        for name in self.metrics or ():
            if name not in METRICS:
                raise unknown_name("metric", name, METRICS)
        for name in self.weights:
            if name not in self.embedders:
                raise unknown_name("embedder in weights", name, self.embedders)
        check_range("bootstrap", self.bootstrap, 0, 100_000)
        check_range("nearest", self.nearest, 1, 1000)
        check_range("pair_rows", self.pair_rows, 2, 1_000_000)
        check_range("seed", self.seed, 0, 2**32 - 1)

    def wants(self, metric: str) -> bool:
        """Whether a group of numbers is asked for."""
        return self.metrics is None or metric in self.metrics

    def to_dict(self) -> dict[str, Any]:
        """Give all settings but the places of weights, which differ between machines."""
        data = dataclasses.asdict(self)
        del data["weights"]
        return data


@dataclass(frozen=True)
class Matching:
    """Which clips belong to an evaluation and to each other.

    Attributes:
        ids: the clips to be judged, by id; None takes all.
        captions: id -> caption; None takes the prompts of the manifests.
        labels: id -> true class; None takes the labels of the manifests.
        references: id -> id of its reference clip, where they differ.
        resolve: gives the id for a name in a folder or manifest; None: not to be judged.
    """

    ids: tuple[str, ...] | None = None
    captions: Mapping[str, str] | None = None
    labels: Mapping[str, str] | None = None
    references: Mapping[str, str] | None = None
    resolve: Callable[[str], str | None] | None = None

    def reference_of(self, clip_id: str) -> str:
        """Give the id of the reference clip of a generated clip."""
        return clip_id if self.references is None else self.references.get(clip_id, clip_id)

    def wanted(self, role: str) -> frozenset[str] | None:
        """Give the ids of one side; None for all."""
        if self.ids is None:
            return None
        return frozenset(self.ids if role == "generated" else map(self.reference_of, self.ids))


def settings_hash(data: Mapping[str, Any]) -> str:
    """SHA-256 over settings, written as JSON with sorted keys."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()
