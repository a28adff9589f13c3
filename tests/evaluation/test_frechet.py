from __future__ import annotations

import numpy as np
import pytest

from soundleap.errors import InputError, NotFiniteError
from soundleap.evaluation.features import Features
from soundleap.evaluation.frechet import (
    distance_of,
    extrapolate,
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


def test_running_sums_are_numpys_mean_and_covariance():
    rows = random_features(12, 5000, 4) + 1000
    found = statistics(rows)
    assert np.allclose(found.mean, rows.mean(axis=0), rtol=1e-12)
    assert np.allclose(found.covariance, np.cov(rows.T), rtol=1e-9)
    assert found.count == 5000


@pytest.mark.parametrize("rows", [40, 6])
def test_weights_count_clips_as_often_as_they_say(rows: int):
    features = [random_features(i, 3, 8) for i in range(rows)]
    weights = np.random.default_rng(0).integers(0, 3, rows)
    repeated = [clip for clip, count in zip(features, weights, strict=True) for _ in range(count)]
    found, expected = statistics(Features.of(features), weights), statistics(repeated)
    assert found.count == expected.count
    assert np.allclose(found.mean, expected.mean)
    assert np.allclose(found.covariance, expected.covariance)


def test_few_rows_give_the_distance_of_their_singular_covariances():
    one, two = random_features(13, 5), random_features(14, 7)
    a, b = (np.cov(rows.T) for rows in (one, two))
    expected = frechet_distance(one.mean(axis=0), a, two.mean(axis=0), b)
    assert frechet(one, two).distance == pytest.approx(expected, rel=1e-9)


def test_degenerate_sets_have_the_distance_of_their_means():
    one, two = np.tile([1.0, 2.0, 3.0], (10, 1)), np.tile([1.0, 2.0, 5.0], (12, 1))
    assert frechet(one, two).distance == pytest.approx(4)
    flat = random_features(15, 50, 3) * [1, 1, 0]
    assert frechet(flat, flat + np.array([0, 0, 2])).distance == pytest.approx(4)


def test_extrapolation_takes_out_the_bias_of_a_small_set():
    rng = np.random.default_rng(16)
    reference = statistics(rng.standard_normal((20000, 12)))
    plain, infinite = [], []
    for _ in range(8):
        generated = Features.of(rng.standard_normal((240, 12)))
        plain.append(distance_of(statistics(generated), reference))
        infinite.append(extrapolate(generated, reference, seed=1).distance)
    assert np.mean(plain) > 0.15
    assert abs(np.mean(infinite)) < 0.05


def test_extrapolation_is_a_line_through_its_points():
    generated = Features.of(random_features(17, 90))
    found = extrapolate(generated, statistics(random_features(18, 90)), seed=3, sizes=5)
    rows = np.array([rows for rows, _ in found.points])
    values = np.array([value for _, value in found.points])
    assert (rows[0], rows[-1], len(rows)) == (30, 90, 5)
    residuals = values - found.distance - found.slope / rows
    assert residuals.sum() == pytest.approx(0, abs=1e-9)
    assert 0 <= found.r_squared <= 1
    with pytest.raises(InputError, match="at least 3"):
        extrapolate(Features.of(random_features(19, 2)), statistics(random_features(18)))


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
    with pytest.raises(InputError, match="at least 2"):
        statistics(good[:1])
    with pytest.raises(InputError, match="n >= 1"):
        statistics([])
    with pytest.raises(NotFiniteError, match="NaN"):
        statistics(np.where(good > 1, np.nan, good))
    with pytest.raises(InputError, match="positive semi-definite"):
        frechet_distance(np.zeros(2), -np.eye(2), np.zeros(2), np.eye(2))
    with pytest.raises(InputError, match=r"covariance_2 has shape \[3, 3\]"):
        frechet_distance(np.zeros(2), np.eye(2), np.zeros(2), np.eye(3))
