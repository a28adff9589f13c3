from __future__ import annotations

import numpy as np
import pytest

from soundleap.errors import InputError, NotFiniteError
from soundleap.evaluation.frechet import (
    frechet,
    frechet_distance,
    principal_components,
    statistics,
)


def random_features(seed: int, rows: int = 60, size: int = 8) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((rows, size)) @ rng.standard_normal((size, size)) + rng.random(size)


def test_one_dimensional_gaussians_have_the_closed_form():
    distance = frechet_distance(
        np.array([1.0]), np.array([[4.0]]), np.array([-2.0]), np.array([[9.0]])
    )
    assert distance == pytest.approx((1 + 2) ** 2 + (2 - 3) ** 2)


def test_commuting_covariances_have_the_closed_form():
    a, b = np.array([1.0, 4.0, 0.0]), np.array([9.0, 1.0, 2.25])
    rotation = np.linalg.qr(random_features(0, 3, 3))[0]
    distance = frechet_distance(
        np.zeros(3), rotation * a @ rotation.T, np.ones(3), rotation * b @ rotation.T
    )
    assert distance == pytest.approx(3 + ((np.sqrt(a) - np.sqrt(b)) ** 2).sum())


def test_agrees_with_the_matrix_square_root_of_scipy():
    linalg = pytest.importorskip("scipy.linalg")
    one, two = statistics(random_features(1)), statistics(random_features(2))
    root = linalg.sqrtm(one.covariance @ two.covariance).real
    expected = ((one.mean - two.mean) ** 2).sum() + np.trace(
        one.covariance + two.covariance - 2 * root
    )
    found = frechet_distance(one.mean, one.covariance, two.mean, two.covariance)
    assert found == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("rows", [60, 5])
def test_a_set_with_itself_is_zero(rows: int):
    features = random_features(3, rows)
    assert frechet(features, features).distance == pytest.approx(0, abs=1e-9)


def test_order_and_grouping_of_rows_do_not_matter():
    one, two = random_features(4), random_features(5)
    shuffled = one[np.random.default_rng(0).permutation(len(one))]
    whole = frechet(one, two).distance
    assert frechet(shuffled, two).distance == pytest.approx(whole, rel=1e-10)
    assert frechet([one[:7], one[7:]], [two]).distance == pytest.approx(whole, rel=1e-12)
    assert frechet(two, one).distance == pytest.approx(whole, rel=1e-10)


def test_projecting_on_all_components_changes_nothing_and_fewer_see_less():
    one, two = random_features(6), random_features(7)
    full = frechet(one, two).distance
    assert frechet(one, two, components=8).distance == pytest.approx(full, rel=1e-9)
    part = frechet(one, two, components=3)
    assert part.dimensions == 3
    assert part.distance < full


def test_principal_components_are_the_directions_of_largest_variance():
    features = np.random.default_rng(8).standard_normal((500, 3)) * [1.0, 10.0, 3.0]
    basis = principal_components(features, 2)
    assert np.allclose(basis.T @ basis, np.eye(2))
    assert np.abs(basis[1, 0]) > 0.99
    assert np.abs(basis[2, 1]) > 0.99


def test_too_few_rows_are_warned_about_in_the_result():
    result = frechet(random_features(9, rows=8), random_features(10, rows=9))
    assert len(result.warnings) == 1
    assert "generated: only 8 feature rows for 8 dimensions" in result.warnings[0]


def test_wrong_input_is_refused():
    good = random_features(11)
    with pytest.raises(InputError, match="D = 8, reference D = 7"):
        frechet(good, good[:, :7])
    with pytest.raises(InputError, match="components is 9; allowed: 1 to 8"):
        frechet(good, good, components=9)
    with pytest.raises(InputError, match="n >= 2"):
        statistics(good[:1])
    with pytest.raises(InputError, match="is empty"):
        statistics([])
    with pytest.raises(NotFiniteError, match="NaN"):
        statistics(np.where(good > 1, np.nan, good))
    with pytest.raises(InputError, match="positive semi-definite"):
        frechet_distance(np.zeros(2), -np.eye(2), np.zeros(2), np.eye(2))
    with pytest.raises(InputError, match=r"covariance_2 has shape \[3, 3\]"):
        frechet_distance(np.zeros(2), np.eye(2), np.zeros(2), np.eye(3))
