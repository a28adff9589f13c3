"""Kernel distances: unbiased estimates of the squared maximum mean discrepancy (MMD)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from soundleap.errors import InputError
from soundleap.evaluation.features import Features, FloatArray, IntArray

BLOCK = 1024
KAD_SCALE = 100.0
"""KAD is published as 100 times the squared MMD."""

BANDWIDTH_ROWS = 2000

Kernel = Callable[[FloatArray, FloatArray], FloatArray]


@dataclass(frozen=True)
class KernelDistance:
    """An unbiased estimate of a squared MMD; it may be below 0 where the sets are alike.

    Attributes:
        value: of the sets as they are.
        draws: of the resampled sets, [draws]; empty without weights, NaN where a set had one clip.
    """

    value: float
    draws: FloatArray


def gaussian(bandwidth: float) -> Kernel:
    """Kernel ``exp(-|x - y|^2 / (2 bandwidth^2))``.

    Raises:
        InputError: bandwidth is not above 0.
    """
    if not bandwidth > 0:
        raise InputError(f"bandwidth is {bandwidth:g}; allowed: above 0 (are all rows equal?)")

    def kernel(x: FloatArray, y: FloatArray) -> FloatArray:
        squares = (x**2).sum(axis=1)[:, None] + (y**2).sum(axis=1) - 2 * x @ y.T
        return np.exp(np.maximum(squares, 0) / (-2 * bandwidth**2))

    return kernel


def cubic(x: FloatArray, y: FloatArray) -> FloatArray:
    """Kernel ``(x·y / D + 1)^3`` of the kernel inception distance.

    Source: Bińkowski et al. 2018, "Demystifying MMD GANs", arXiv 1801.01401, section 4.
    """
    return (x @ y.T / x.shape[1] + 1) ** 3


def median_bandwidth(reference: Features) -> float:
    """Median distance between rows of the reference set; of 2,000 evenly spaced rows at most.

    Source: Chung et al. 2025, "KAD: No More FAD!", arXiv 2502.15602, section 3 (median of the
    reference set).
    """
    rows = len(reference.rows)
    chosen = np.unique(np.linspace(0, rows - 1, min(rows, BANDWIDTH_ROWS)).round().astype(int))
    if len(chosen) < 2:
        raise InputError("the reference has 1 feature row; a bandwidth needs at least 2")
    values = np.asarray(reference.rows[chosen], dtype=np.float64)
    squares = (values**2).sum(axis=1)
    distances = squares[:, None] + squares - 2 * values @ values.T
    pairs = distances[np.triu_indices(len(values), 1)]
    return float(np.sqrt(max(np.median(pairs), 0.0)))


def kernel_distance(
    generated: Features,
    reference: Features,
    kernel: Kernel,
    weights: tuple[IntArray, IntArray] | None = None,
) -> KernelDistance:
    """Estimate ``E k(x, x') + E k(y, y') - 2 E k(x, y)`` without bias, block by block.

    Pairs of rows of the same clip are left out, so the estimate is unbiased for clips of several
    rows too; with one row a clip it is the published estimator.

    Source: Gretton et al. 2012, "A kernel two-sample test", eq. 3.

    Args:
        generated: at least 2 clips.
        reference: at least 2 clips.
        kernel: of two arrays of rows [n, D], [m, D]: [n, m].
        weights: how often each clip counts in each resampled set, [clips, draws] for either set.

    Raises:
        InputError: fewer than 2 clips in a set, or D differs.
    """
    if min(generated.clips, reference.clips) < 2:
        raise InputError(
            f"{generated.clips} generated and {reference.clips} reference clips; at least 2 each"
        )
    if generated.dimensions != reference.dimensions:
        raise InputError(f"D is {generated.dimensions} and {reference.dimensions}; must be equal")
    one, two = (None, None) if weights is None else weights
    within = [_within(generated, kernel, one), _within(reference, kernel, two)]
    means = within[0] + within[1] - 2 * _between(generated, reference, kernel, one, two)
    return KernelDistance(float(means[0]), means[1:])


def _columns(features: Features, weights: IntArray | None) -> FloatArray:
    """Weights of the rows, [R, 1 + draws]: the first column counts every row once."""
    plain = np.ones((len(features.rows), 1))
    if weights is None:
        return plain
    drawn = np.repeat(weights, features.lengths, axis=0).astype(np.float64)
    return np.concatenate([plain, drawn], axis=1)


def _within(features: Features, kernel: Kernel, weights: IntArray | None) -> FloatArray:
    """Mean of the kernel over pairs of rows of different clips, [1 + draws]."""
    columns, clips = _columns(features, weights), features.clip_of_rows()
    sums = np.zeros(columns.shape[1])
    for here, x in features.blocks(BLOCK):
        for there, y in features.blocks(BLOCK):
            if there.start < here.start:
                continue
            values = kernel(x, y)
            if clips[there.start] <= clips[here.stop - 1]:
                values[clips[here, None] == clips[None, there]] = 0.0
            found = (columns[here] * (values @ columns[there])).sum(axis=0)
            sums += found if there.start == here.start else 2 * found
    rows = np.add.reduceat(columns, features.offsets[:-1], axis=0)
    pairs = rows.sum(axis=0) ** 2 - (rows**2).sum(axis=0)
    return sums / np.where(pairs > 0, pairs, np.nan)  # a draw may hold one clip only


def _between(
    generated: Features,
    reference: Features,
    kernel: Kernel,
    one: IntArray | None,
    two: IntArray | None,
) -> FloatArray:
    """Mean of the kernel over all pairs of a generated and a reference row, [1 + draws]."""
    left, right = _columns(generated, one), _columns(reference, two)
    sums = np.zeros(left.shape[1])
    for here, x in generated.blocks(BLOCK):
        for there, y in reference.blocks(BLOCK):
            sums += (left[here] * (kernel(x, y) @ right[there])).sum(axis=0)
    return sums / (left.sum(axis=0) * right.sum(axis=0))
