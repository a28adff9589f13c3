"""Intervals by resampling clips."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating[Any]]
IntArray = NDArray[np.integer[Any]]
LEVEL = 0.95


def bootstrap_weights(clips: int, draws: int, seed: int, stream: int = 0) -> IntArray:
    """Draw how often each clip is taken in each resampled set: [clips, draws].

    Clips, not their patches, are drawn: patches of one clip depend on each other.

    Source: Efron 1979, "Bootstrap methods: another look at the jackknife".

    Args:
        clips: number of clips.
        draws: number of resampled sets.
        seed: of the draws.
        stream: another number for each set of clips, so that sets are drawn independently.
    """
    generator = np.random.default_rng([seed, stream])
    weights = np.empty((clips, draws), dtype=np.int16)
    for draw in range(draws):
        chosen = generator.integers(0, clips, clips)
        weights[:, draw] = np.bincount(chosen, minlength=clips)
    return weights


def centred_interval(
    value: float,
    draws: FloatArray,
    bounds: tuple[float, float] = (-math.inf, math.inf),
    level: float = LEVEL,
) -> tuple[float, float] | tuple[None, None]:
    """Turn the values of resampled sets into an interval around `value`.

    The percentiles of the draws are shifted by the difference between `value` and the draws' mean:
    resampling repeats clips, which biases distances and coverage, and the shift takes that bias out
    of the interval. The bias that `value` itself has is not removed. Ends beyond the values that a
    number can take are set to `bounds`.

    Returns:
        Lower and upper end, or (None, None) with fewer than 10 finite draws.
    """
    draws = draws[np.isfinite(draws)]
    if len(draws) < 10:
        return None, None
    tail = (1 - level) / 2
    low, high = np.quantile(draws, [tail, 1 - tail]) + (value - draws.mean())
    return max(float(low), bounds[0]), min(float(high), bounds[1])


def interval_note(draws: int) -> str:
    """Say how an interval was made, for a metric's details."""
    if draws < 10:
        return "none (fewer than 10 bootstrap draws)"
    return f"bootstrap 95 %, {draws} draws over clips, centred"
