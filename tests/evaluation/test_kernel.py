from __future__ import annotations

import numpy as np
import pytest

from soundleap.errors import InputError
from soundleap.evaluation import kernel as kernels
from soundleap.evaluation.features import Features
from soundleap.evaluation.intervals import bootstrap_weights
from soundleap.evaluation.kernel import cubic, gaussian, kernel_distance, median_bandwidth


def rows(seed: int, count: int, size: int = 3, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, size)) + shift


def published(x: np.ndarray, y: np.ndarray, kernel) -> float:
    xx, yy, xy = kernel(x, x), kernel(y, y), kernel(x, y)
    m, n = len(x), len(y)
    within = (xx.sum() - np.trace(xx)) / (m * (m - 1)) + (yy.sum() - np.trace(yy)) / (n * (n - 1))
    return within - 2 * xy.mean()


@pytest.mark.parametrize("kernel", [cubic, gaussian(1.3)])
def test_one_row_a_clip_is_the_published_estimator(kernel, monkeypatch):
    monkeypatch.setattr(kernels, "BLOCK", 7)
    x, y = rows(0, 30), rows(1, 23, shift=0.5)
    found = kernel_distance(Features.of(x), Features.of(y), kernel)
    assert found.value == pytest.approx(published(x, y, kernel), rel=1e-12)


def test_gaussians_have_the_closed_form():
    # E exp(-|x - y|^2 / 2 s^2) for x, y ~ N(m, 1) in D dimensions
    def expected(apart: float, s: float = 1.5, size: int = 2) -> float:
        wide = s**2 + 2
        return (s**2 / wide) ** (size / 2) * np.exp(-(apart**2) * size / (2 * wide))

    truth = 2 * expected(0) - 2 * expected(0.7)
    x, y = rows(2, 2000, 2), rows(3, 2000, 2, shift=0.7)
    found = kernel_distance(Features.of(x), Features.of(y), gaussian(1.5))
    assert found.value == pytest.approx(truth, rel=0.1)


@pytest.mark.parametrize("shift", [0.0, 0.6])
def test_estimate_is_unbiased_under_subsampling(shift: float):
    x, y = rows(4, 1500), rows(5, 1500, shift=shift)
    kernel, rng = gaussian(1.7), np.random.default_rng(6)
    whole = kernel_distance(Features.of(x), Features.of(y), kernel).value

    def small() -> float:
        a, b = (v[rng.permutation(len(v))[:20]] for v in (x, y))
        return kernel_distance(Features.of(a), Features.of(b), kernel).value

    values = np.array([small() for _ in range(800)])
    error = values.std() / np.sqrt(len(values))
    assert values.mean() == pytest.approx(whole, abs=4 * error)


def test_clips_of_several_like_rows_leave_it_unbiased():
    rng = np.random.default_rng(7)

    def clips(count: int) -> Features:
        made = [
            rng.standard_normal((1, 2)) + 0.01 * rng.standard_normal((4, 2)) for _ in range(count)
        ]
        return Features.of(made)

    values = [kernel_distance(clips(12), clips(12), gaussian(1.0)).value for _ in range(300)]
    assert np.mean(values) == pytest.approx(0, abs=4 * np.std(values) / np.sqrt(300))


def test_order_and_grouping_do_not_matter():
    x, y = rows(8, 50), rows(9, 40)
    shuffled = Features.of(x[np.random.default_rng(0).permutation(50)])
    whole = kernel_distance(Features.of(x), Features.of(y), cubic).value
    assert kernel_distance(shuffled, Features.of(y), cubic).value == pytest.approx(whole)
    assert kernel_distance(Features.of(y), Features.of(x), cubic).value == pytest.approx(whole)


def test_resampled_sets_are_sets_with_repeated_clips(monkeypatch):
    monkeypatch.setattr(kernels, "BLOCK", 5)
    x, y = [rows(i, 2) for i in range(9)], [rows(50 + i, 1) for i in range(8)]
    weights = bootstrap_weights(9, 3, 0, 0), bootstrap_weights(8, 3, 0, 1)
    found = kernel_distance(Features.of(x), Features.of(y), gaussian(1.0), weights)
    kernel = gaussian(1.0)
    for draw in range(3):
        ours = [i for i in range(9) for _ in range(weights[0][i, draw])]
        theirs = [i for i in range(8) for _ in range(weights[1][i, draw])]
        parts = []
        for clips, chosen in ((x, ours), (y, theirs)):
            pairs = [kernel(clips[i], clips[j]) for i in chosen for j in chosen if i != j]
            parts.append(np.mean(np.concatenate([p.ravel() for p in pairs])))
        across = np.mean([kernel(x[i], y[j]).mean() for i in ours for j in theirs])
        assert found.draws[draw] == pytest.approx(parts[0] + parts[1] - 2 * across)


def test_bandwidth_is_the_median_distance_of_reference_rows():
    from scipy.spatial.distance import pdist

    y = rows(10, 60)
    assert median_bandwidth(Features.of(y)) == pytest.approx(np.median(pdist(y)))


def test_wrong_input_is_refused():
    one = Features.of(rows(11, 1))
    with pytest.raises(InputError, match="at least 2 each"):
        kernel_distance(one, Features.of(rows(0, 5)), cubic)
    with pytest.raises(InputError, match="D is 3 and 2"):
        kernel_distance(Features.of(rows(0, 5)), Features.of(rows(0, 5, 2)), cubic)
    with pytest.raises(InputError, match="bandwidth is 0"):
        gaussian(0.0)
