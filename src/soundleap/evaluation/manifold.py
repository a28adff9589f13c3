"""Density and coverage: does the generated set lie among real sounds, and does it reach all?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from soundleap.errors import InputError
from soundleap.evaluation.features import Features, FloatArray, IntArray

BLOCK = 1024


@dataclass(frozen=True)
class Manifold:
    """Density and coverage.

    Attributes:
        density: mean number of reference balls that a generated vector lies in, over k; 1 for two
            sets of one distribution, may be above.
        coverage: share of reference balls that hold a generated vector, 0 to 1.
        density_draws: of the resampled sets, [draws]; empty without weights.
        coverage_draws: the same.
    """

    density: float
    coverage: float
    density_draws: FloatArray
    coverage_draws: FloatArray


def density_coverage(
    generated: Features,
    reference: Features,
    nearest: int = 5,
    weights: tuple[IntArray, IntArray] | None = None,
) -> Manifold:
    """Compute density and coverage, block by block, with one vector a clip.

    A reference vector's ball reaches to its k-th nearest other reference vector.

    Source: Naeem et al. 2020, "Reliable fidelity and diversity metrics for generative models",
    arXiv 2002.09797, eqs. 4 and 6.

    Args:
        generated: one row a clip.
        reference: one row a clip.
        nearest: k.
        weights: how often each clip counts in each resampled set, [clips, draws] for either set;
            the balls stay those of the whole reference set.

    Raises:
        InputError: k is not below the number of reference clips, D differs, or several rows a clip.
    """
    _check(generated, reference, nearest)
    radii = nearest_distances(reference, nearest)
    one, two = (None, None) if weights is None else weights
    ours, theirs = _columns(generated, one), _columns(reference, two)
    density, coverage = np.zeros(ours.shape[1]), np.zeros(ours.shape[1])
    for here, x in reference.blocks(BLOCK):
        inside = np.zeros((len(x), ours.shape[1]))
        for there, y in generated.blocks(BLOCK):
            inside += (_distances(x, y) < radii[here, None]) @ ours[there]
        density += (theirs[here] * inside).sum(axis=0)
        coverage += (theirs[here] * (inside > 0)).sum(axis=0)
    density /= nearest * ours.sum(axis=0)
    coverage /= theirs.sum(axis=0)
    return Manifold(float(density[0]), float(coverage[0]), density[1:], coverage[1:])


def nearest_distances(features: Features, nearest: int) -> FloatArray:
    """Distance of every row to its k-th nearest other row, [n] float64."""
    radii = np.zeros(len(features.rows))
    for here, x in features.blocks(BLOCK):
        best = np.full((len(x), nearest), np.inf)
        for there, y in features.blocks(BLOCK):
            distances = _distances(x, y)
            if there.start == here.start:
                np.fill_diagonal(distances, np.inf)
            best = np.partition(np.concatenate([best, distances], axis=1), nearest - 1, axis=1)
            best = best[:, :nearest]
        radii[here] = best.max(axis=1)
    return radii


def _columns(features: Features, weights: IntArray | None) -> FloatArray:
    plain = np.ones((features.clips, 1))
    return plain if weights is None else np.concatenate([plain, weights.astype(float)], axis=1)


def _distances(x: FloatArray, y: FloatArray) -> FloatArray:
    squares = (x**2).sum(axis=1)[:, None] + (y**2).sum(axis=1) - 2 * x @ y.T
    return np.sqrt(np.maximum(squares, 0))


def _check(generated: Features, reference: Features, nearest: int) -> None:
    if generated.dimensions != reference.dimensions:
        raise InputError(f"D is {generated.dimensions} and {reference.dimensions}; must be equal")
    for features in (generated, reference):
        if len(features.rows) != features.clips:
            raise InputError("density and coverage need one row a clip; average the rows first")
    if not 1 <= nearest < reference.clips:
        raise InputError(f"nearest is {nearest}; allowed: 1 to {reference.clips - 1}")
