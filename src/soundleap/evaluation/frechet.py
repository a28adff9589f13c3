"""Fréchet distance between two sets of features, each seen as a Gaussian."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from soundleap.errors import InputError, NotFiniteError
from soundleap.evaluation.features import Features, FloatArray, IntArray


@dataclass(frozen=True)
class Statistics:
    """Mean and covariance of a feature set.

    Attributes:
        mean: [D] float64.
        root: [r, D] float64, r <= D, with ``root^T root`` = covariance.
        count: number of rows n.
    """

    mean: FloatArray
    root: FloatArray
    count: int

    @property
    def covariance(self) -> FloatArray:
        """Covariance [D, D] float64, divided by n - 1."""
        return self.root.T @ self.root

    @property
    def warning(self) -> str | None:
        """One line if the covariance can't have full rank (n <= D), else None."""
        if self.count > self.mean.size:
            return None
        return (
            f"only {self.count} feature rows for {self.mean.size} dimensions: the covariance is "
            "singular and the distance is biased upwards; compare only sets of equal size"
        )

    def projected(self, basis: FloatArray) -> Statistics:
        """Give mean and covariance of the rows times `basis` [D, K]."""
        root: Any = np.linalg.qr(self.root @ basis, mode="r")
        return Statistics(self.mean @ basis, root, self.count)


@dataclass(frozen=True)
class FrechetResult:
    """A Fréchet distance and what it was computed from.

    Attributes:
        distance: squared 2-Wasserstein distance of the two Gaussians, >= 0.
        dimensions: number of dimensions compared.
        generated_count: feature rows of the generated set.
        reference_count: feature rows of the reference set.
        warnings: sentences for the report; empty when the counts suffice.
    """

    distance: float
    dimensions: int
    generated_count: int
    reference_count: int
    warnings: tuple[str, ...] = ()


def statistics(
    features: Features | FloatArray | Sequence[FloatArray], weights: IntArray | None = None
) -> Statistics:
    """Compute mean and covariance of features by running sums, block by block.

    The memory needed depends on D only; up to D rows are their own root. Sums are taken around
    the first block's mean, so large means cost no digits.

    Args:
        features: rows of clips; arrays as for `Features.of`.
        weights: how often each clip counts, [clips]; None counts each once.

    Raises:
        InputError: fewer than 2 rows, or not two-dimensional.
        NotFiniteError: the features hold NaN or infinity.
    """
    made = features if isinstance(features, Features) else Features.of(features)
    counts = np.repeat(np.ones(made.clips, dtype=int) if weights is None else weights, made.lengths)
    total = int(counts.sum())
    if total < 2:
        raise InputError(f"features has {total} rows; at least 2 are needed")
    if np.count_nonzero(counts) <= made.dimensions:
        return _few(made, counts, total)
    shift, first, second = np.zeros(0), np.zeros(0), np.zeros(0)
    for place, rows in made.blocks():
        if not shift.size:
            shift = rows.mean(axis=0)
            first, second = np.zeros_like(shift), np.zeros((shift.size, shift.size))
        centred = rows - shift
        weighted = centred if weights is None else centred * counts[place, None]
        first += weighted.sum(axis=0)
        second += weighted.T @ centred
    _check_finite(first)
    covariance = (second - np.outer(first, first) / total) / (total - 1)
    return Statistics(shift + first / total, _factor(covariance, "covariance"), total)


def _few(features: Features, counts: IntArray, total: int) -> Statistics:
    """Statistics of at most D different rows, which are themselves a root of the covariance."""
    kept = np.flatnonzero(counts)
    rows = np.asarray(features.rows[kept], dtype=np.float64)
    _check_finite(rows)
    weights = counts[kept, None]
    mean = (rows * weights).sum(axis=0) / total
    return Statistics(mean, (rows - mean) * np.sqrt(weights / (total - 1)), total)


def _check_finite(values: FloatArray) -> None:
    if not np.isfinite(values).all():
        raise NotFiniteError("features holds NaN or infinity; find the clip and leave it out")


def frechet_distance(
    mean_1: FloatArray, covariance_1: FloatArray, mean_2: FloatArray, covariance_2: FloatArray
) -> float:
    """Compute ``|m1 - m2|^2 + tr(C1) + tr(C2) - 2 tr((C1^(1/2) C2 C1^(1/2))^(1/2))`` in float64.

    The last trace is the nuclear norm of ``R1 R2^T`` for any roots with ``Ri^T Ri = Ci``:
    Cholesky's where the covariance has full rank, else one from a symmetric eigendecomposition. So
    singular covariances need no offset and nothing becomes complex.

    Source: Dowson and Landau 1982, eq. 4; Kilgour et al. 2019, "Fréchet Audio Distance", eq. 1.

    Args:
        mean_1: [D].
        covariance_1: [D, D], symmetric, positive semi-definite.
        mean_2: [D].
        covariance_2: [D, D], symmetric, positive semi-definite.

    Raises:
        InputError: shapes don't agree, or a covariance is clearly not positive semi-definite.
        NotFiniteError: an input holds NaN or infinity.
    """
    m_1, m_2 = (np.asarray(m, dtype=np.float64) for m in (mean_1, mean_2))
    c_1, c_2 = (np.asarray(c, dtype=np.float64) for c in (covariance_1, covariance_2))
    size = m_1.size
    for name, array, shape in (
        ("mean_1", m_1, (size,)),
        ("mean_2", m_2, (size,)),
        ("covariance_1", c_1, (size, size)),
        ("covariance_2", c_2, (size, size)),
    ):
        _check(name, array, shape)
    one = Statistics(m_1, _factor(c_1, "covariance_1"), 0)
    return distance_of(one, Statistics(m_2, _factor(c_2, "covariance_2"), 0))


def distance_of(one: Statistics, two: Statistics) -> float:
    """Fréchet distance of two sets' Gaussians, see `frechet_distance`."""
    overlap = np.linalg.svd(one.root @ two.root.T, compute_uv=False).sum()
    apart = ((one.mean - two.mean) ** 2).sum()
    distance = float(apart + (one.root**2).sum() + (two.root**2).sum() - 2 * overlap)
    return max(distance, 0.0)  # only rounding can make it negative


def frechet(
    generated: Features | FloatArray | Sequence[FloatArray],
    reference: Features | FloatArray | Sequence[FloatArray],
    *,
    components: int | None = None,
) -> FrechetResult:
    """Compare two feature sets, in full or on the reference's first principal components.

    Args:
        generated: rows of clips; arrays as for `Features.of`.
        reference: the same.
        components: number K of principal components of the reference to project both sets on
            (not whitened), 1 to D; None compares all D.

    Raises:
        InputError: D differs between the sets, components out of range, or fewer than 2 rows.
        NotFiniteError: the features hold NaN or infinity.
    """
    one, two = statistics(generated), statistics(reference)
    if one.mean.size != two.mean.size:
        raise InputError(f"generated has D = {one.mean.size}, reference D = {two.mean.size}")
    if components is not None:
        basis = principal_components(two, components)
        one, two = one.projected(basis), two.projected(basis)
    return compare(one, two)


def compare(generated: Statistics, reference: Statistics) -> FrechetResult:
    """Compare two sets by their statistics, with warnings where rows are few."""
    named = {"generated": generated, "reference": reference}
    return FrechetResult(
        distance=distance_of(generated, reference),
        dimensions=generated.mean.size,
        generated_count=generated.count,
        reference_count=reference.count,
        warnings=tuple(f"{name}: {s.warning}" for name, s in named.items() if s.warning),
    )


def principal_components(
    features: Statistics | Features | FloatArray | Sequence[FloatArray], components: int
) -> FloatArray:
    """Find the K directions of largest variance: orthonormal columns [D, K].

    Raises:
        InputError: components is not in 1 to D.
    """
    stats = features if isinstance(features, Statistics) else statistics(features)
    if not 1 <= components <= stats.mean.size:
        raise InputError(f"components is {components}; allowed: 1 to {stats.mean.size}")
    _, _, vectors = np.linalg.svd(stats.root, full_matrices=len(stats.root) < components)
    return vectors[:components].T


def _check(name: str, array: FloatArray, shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise InputError(f"{name} has shape {list(array.shape)}; expected {list(shape)}")
    if not np.isfinite(array).all():
        raise NotFiniteError(f"{name} holds NaN or infinity")


def _factor(covariance: FloatArray, name: str) -> FloatArray:
    """Find R with ``R^T R = C``."""
    try:
        return np.linalg.cholesky((covariance + covariance.T) / 2).T
    except np.linalg.LinAlgError:
        pass
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    if values[0] < -1e-6 * max(values[-1], 1e-300):
        raise InputError(f"{name} has eigenvalue {values[0]:g}; it must be positive semi-definite")
    kept = values > values[-1] * len(values) * np.finfo(float).eps
    return np.sqrt(values[kept])[:, None] * vectors[:, kept].T


@dataclass(frozen=True)
class Extrapolation:
    """A distance extrapolated to infinitely many generated clips.

    Attributes:
        distance: value of the fitted line at 1 / rows = 0.
        points: (rows, distance) of the subsets.
        slope: of the line over 1 / rows.
        r_squared: share of the variance that the line explains.
    """

    distance: float
    points: tuple[tuple[int, float], ...]
    slope: float
    r_squared: float


def extrapolate(
    generated: Features, reference: Statistics, *, seed: int = 0, sizes: int = 12
) -> Extrapolation:
    """Extrapolate the Fréchet distance to infinitely many generated clips.

    Distances of random subsets of a third to all of the clips (without replacement) are fitted by
    a line over 1 / rows. The bias from the reference set's own size stays.

    Source: Chong and Forsyth 2020, "Effectively unbiased FID and Inception Score"; Gui et al. 2024,
    "Adapting Fréchet Audio Distance for generative music evaluation" (FAD-infinity).

    Args:
        generated: at least 3 clips.
        reference: statistics of the reference set.
        seed: of the subsets.
        sizes: number of subsets, at least 3.

    Raises:
        InputError: fewer than 3 clips or sizes.
    """
    if generated.clips < 3 or sizes < 3:
        raise InputError(f"{generated.clips} clips, {sizes} sizes; allowed: at least 3 of each")
    rng = np.random.default_rng([seed, 7])
    points: list[tuple[int, float]] = []
    for count in np.linspace(math.ceil(generated.clips / 3), generated.clips, sizes).round():
        weights = np.zeros(generated.clips, dtype=int)
        weights[rng.permutation(generated.clips)[: int(count)]] = 1
        subset = statistics(generated, weights)
        points.append((subset.count, distance_of(subset, reference)))
    inverse, values = (np.array(x) for x in ([1 / n for n, _ in points], [v for _, v in points]))
    slope, intercept = np.polyfit(inverse, values, 1)
    residual = ((values - slope * inverse - intercept) ** 2).sum()
    spread = ((values - values.mean()) ** 2).sum()
    r_squared = 1.0 if spread == 0 else float(1 - residual / spread)
    return Extrapolation(float(intercept), tuple(points), float(slope), r_squared)
