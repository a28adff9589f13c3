from __future__ import annotations

import numpy as np
import pytest

from soundleap.errors import InputError
from soundleap.evaluation import manifold
from soundleap.evaluation.features import Features
from soundleap.evaluation.intervals import bootstrap_weights
from soundleap.evaluation.manifold import density_coverage, nearest_distances


def rows(seed: int, count: int, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 4)) + shift


def plain(x: np.ndarray, y: np.ndarray, k: int) -> tuple[float, float]:
    """Density and coverage of generated x among reference y, by their definition."""
    own = np.linalg.norm(y[:, None] - y[None], axis=2)
    radii = np.sort(own, axis=1)[:, k]
    inside = np.linalg.norm(y[:, None] - x[None], axis=2) < radii[:, None]
    return inside.sum() / (k * len(x)), inside.any(axis=1).mean()


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(manifold, "BLOCK", 13)


def test_agrees_with_the_definition():
    x, y = rows(0, 40), rows(1, 50, 0.4)
    found = density_coverage(Features.of(x), Features.of(y), 3)
    assert (found.density, found.coverage) == pytest.approx(plain(x, y, 3))


def test_radii_are_those_of_other_rows():
    radii = nearest_distances(Features.of(np.array([[0.0], [1.0], [3.0], [3.0]])), 2)
    assert radii.tolist() == pytest.approx([3, 2, 2, 2])


def test_alike_sets_have_both_near_one_and_distant_sets_zero():
    y = rows(2, 300)
    near = density_coverage(Features.of(rows(3, 300)), Features.of(y))
    assert near.density == pytest.approx(1, abs=0.15)
    assert near.coverage > 0.9
    far = density_coverage(Features.of(rows(4, 300, 50)), Features.of(y))
    assert (far.density, far.coverage) == (0, 0)


def test_a_set_that_repeats_one_sound_covers_little():
    y = rows(5, 200)
    stuck = np.tile(y[:1], (200, 1))
    assert density_coverage(Features.of(stuck), Features.of(y)).coverage < 0.1


def test_resampled_sets_count_clips_by_weight():
    x, y = rows(6, 30), rows(7, 35)
    weights = bootstrap_weights(30, 4, 0, 0), bootstrap_weights(35, 4, 0, 1)
    found = density_coverage(Features.of(x), Features.of(y), 4, weights)
    radii = nearest_distances(Features.of(y), 4)
    inside = np.linalg.norm(y[:, None] - x[None], axis=2) < radii[:, None]
    for draw in range(4):
        ours = np.repeat(np.arange(30), weights[0][:, draw])
        theirs = np.repeat(np.arange(35), weights[1][:, draw])
        chosen = inside[np.ix_(theirs, ours)]
        assert found.density_draws[draw] == pytest.approx(chosen.sum() / (4 * 30))
        assert found.coverage_draws[draw] == pytest.approx(chosen.any(axis=1).mean())


def test_wrong_input_is_refused():
    x = Features.of(rows(0, 6))
    with pytest.raises(InputError, match="nearest is 6; allowed: 1 to 5"):
        density_coverage(x, x, 6)
    with pytest.raises(InputError, match="one row a clip"):
        density_coverage(Features.of([rows(0, 6)]), x, 2)
    with pytest.raises(InputError, match="D is 2 and 4"):
        density_coverage(Features.of(np.zeros((3, 2))), x, 2)
