"""Fréchet distance between two sets of features, each seen as a Gaussian."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from soundleap.errors import InputError, NotFiniteError

FloatArray = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Statistics:
    """Mean and covariance of a feature set.

    Attributes:
        mean: [D] float64.
        covariance: [D, D] float64, divided by n - 1.
        count: number of rows n.
    """

    mean: FloatArray
    covariance: FloatArray
    count: int

    @property
    def warning(self) -> str | None:
        """One line if the covariance can't have full rank (n <= D), else None."""
        if self.count > self.mean.size:
            return None
        return (
            f"only {self.count} feature rows for {self.mean.size} dimensions: the covariance is "
            "singular and the distance is biased upwards; compare only sets of equal size"
        )


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


def statistics(features: FloatArray | Sequence[FloatArray]) -> Statistics:
    """Compute mean and covariance of features [n, D] (or of a list of [n_i, D], joined).

    The order of the rows changes the result by rounding only.

    Raises:
        InputError: fewer than 2 rows, or not two-dimensional.
        NotFiniteError: the features hold NaN or infinity.
    """
    rows = _rows(features)
    mean = rows.mean(axis=0)
    centred = rows - mean
    return Statistics(mean, centred.T @ centred / (len(rows) - 1), len(rows))


def frechet_distance(
    mean_1: FloatArray, covariance_1: FloatArray, mean_2: FloatArray, covariance_2: FloatArray
) -> float:
    """Compute ``|m1 - m2|^2 + tr(C1) + tr(C2) - 2 tr((C1^(1/2) C2 C1^(1/2))^(1/2))`` in float64.

    The last trace is the nuclear norm of ``C1^(1/2) C2^(1/2)``: the roots come from symmetric
    eigendecompositions, so singular covariances need no offset and nothing becomes complex.

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
    cross = _root(c_1, "covariance_1") @ _root(c_2, "covariance_2")
    overlap = np.linalg.svd(cross, compute_uv=False).sum()
    distance = float(((m_1 - m_2) ** 2).sum() + np.trace(c_1) + np.trace(c_2) - 2 * overlap)
    return max(distance, 0.0)  # only rounding can make it negative


def frechet(
    generated: FloatArray | Sequence[FloatArray],
    reference: FloatArray | Sequence[FloatArray],
    *,
    components: int | None = None,
) -> FrechetResult:
    """Compare two feature sets [n, D], in full or on the reference's first principal components.

    Args:
        generated: rows [n, D], or a list of them, one entry a clip.
        reference: rows [m, D], or a list of them.
        components: number K of principal components of the reference to project both sets on
            (centred with the reference's mean, not whitened), 1 to D; None compares all D.

    Raises:
        InputError: D differs between the sets, components out of range, or fewer than 2 rows.
        NotFiniteError: the features hold NaN or infinity.
    """
    one, two = _rows(generated), _rows(reference)
    if one.shape[1] != two.shape[1]:
        raise InputError(f"generated has D = {one.shape[1]}, reference D = {two.shape[1]}")
    if components is not None:
        basis = principal_components(two, components)
        centre = two.mean(axis=0)
        one, two = (one - centre) @ basis, (two - centre) @ basis
    stats = {"generated": statistics(one), "reference": statistics(two)}
    g, r = stats["generated"], stats["reference"]
    return FrechetResult(
        distance=frechet_distance(g.mean, g.covariance, r.mean, r.covariance),
        dimensions=one.shape[1],
        generated_count=g.count,
        reference_count=r.count,
        warnings=tuple(f"{name}: {s.warning}" for name, s in stats.items() if s.warning),
    )


def principal_components(features: FloatArray, components: int) -> FloatArray:
    """Find the K directions of largest variance of features [n, D]: orthonormal columns [D, K].

    Raises:
        InputError: components is not in 1 to D.
    """
    size = features.shape[1]
    if not 1 <= components <= size:
        raise InputError(f"components is {components}; allowed: 1 to {size}")
    _, vectors = np.linalg.eigh(statistics(features).covariance)
    return vectors[:, ::-1][:, :components]


def _rows(features: FloatArray | Sequence[FloatArray]) -> FloatArray:
    parts = [features] if isinstance(features, np.ndarray) else list(features)
    if not parts:
        raise InputError("features is empty; at least 2 rows are needed")
    rows = np.concatenate([np.asarray(part, dtype=np.float64) for part in parts])
    if rows.ndim != 2 or len(rows) < 2:
        raise InputError(f"features has shape {list(rows.shape)}; allowed: [n, D] with n >= 2")
    if not np.isfinite(rows).all():
        raise NotFiniteError("features holds NaN or infinity; find the clip and leave it out")
    return rows


def _check(name: str, array: FloatArray, shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise InputError(f"{name} has shape {list(array.shape)}; expected {list(shape)}")
    if not np.isfinite(array).all():
        raise NotFiniteError(f"{name} holds NaN or infinity")


def _root(covariance: FloatArray, name: str) -> FloatArray:
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    if values[0] < -1e-6 * max(values[-1], 1e-300):
        raise InputError(f"{name} has eigenvalue {values[0]:g}; it must be positive semi-definite")
    return (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
