from __future__ import annotations

import numpy as np
import pytest

from soundleap.errors import InputError
from soundleap.evaluation.classes import divergences, inception_score, softmax
from soundleap.evaluation.features import Features
from soundleap.evaluation.intervals import bootstrap_weights


def logits(seed: int, count: int, classes: int = 5) -> np.ndarray:
    return 3 * np.random.default_rng(seed).standard_normal((count, classes))


def test_divergence_is_scipys_relative_entropy():
    from scipy.special import rel_entr
    from scipy.special import softmax as reference_softmax

    x, y = logits(0, 20), logits(1, 20)
    pairs = np.stack([np.arange(20)[::-1], np.arange(20)], axis=1)
    found = divergences(Features.of(x), Features.of(y), pairs)
    expected = rel_entr(reference_softmax(y, axis=1), reference_softmax(x, axis=1)[::-1]).sum(
        axis=1
    )
    assert found == pytest.approx(expected, rel=1e-3)  # the offset of 1e-6 is in one of them


def test_divergence_of_a_clip_with_itself_is_zero():
    x = Features.of(logits(2, 6))
    pairs = np.stack([np.arange(6)] * 2, axis=1)
    assert divergences(x, x, pairs) == pytest.approx(0, abs=1e-5)


def test_divergence_goes_from_reference_to_generated():
    sure, unsure = Features.of(np.array([[9.0, 0.0]])), Features.of(np.array([[0.0, 0.0]]))
    pair = np.array([[0, 0]])
    assert divergences(unsure, sure, pair)[0] == pytest.approx(np.log(2), abs=1e-2)
    assert divergences(sure, unsure, pair)[0] > 2


def test_logits_of_any_size_have_finite_divergence():
    x, y = Features.of(np.array([[1e4, 0.0]])), Features.of(np.array([[0.0, 1e4]]))
    assert divergences(x, y, np.array([[0, 0]]))[0] == pytest.approx(np.log(1e6))


def test_inception_score_of_known_sets():
    certain = Features.of(50 * np.tile(np.eye(4), (5, 1)))
    assert inception_score(certain).value == pytest.approx(4)
    same = Features.of(np.tile([1.0, 2.0, 3.0], (12, 1)))
    assert inception_score(same).value == pytest.approx(1)


def test_inception_score_is_its_definition_and_keeps_no_order():
    rows = logits(3, 50)
    p = softmax(rows)
    expected = np.exp((p * np.log(p / p.mean(axis=0))).sum(axis=1).mean())
    assert inception_score(Features.of(rows)).value == pytest.approx(expected)
    assert inception_score(Features.of(rows[::-1])).value == pytest.approx(expected)


def test_ten_parts_are_those_of_the_published_permutation():
    rows = logits(4, 53)
    p = softmax(rows)[np.random.RandomState(2020).permutation(53)]
    parts = [p[i * 53 // 10 : (i + 1) * 53 // 10] for i in range(10)]
    scores = [np.exp((q * np.log(q / q.mean(axis=0))).sum(axis=1).mean()) for q in parts]
    found = inception_score(Features.of(rows))
    assert (found.split_mean, found.split_std) == pytest.approx((np.mean(scores), np.std(scores)))
    assert inception_score(Features.of(rows[:9])).split_mean is None


def test_resampled_sets_repeat_clips():
    rows, weights = logits(5, 12), bootstrap_weights(12, 3, 0)
    found = inception_score(Features.of(rows), weights)
    for draw in range(3):
        repeated = Features.of(np.repeat(rows, weights[:, draw], axis=0))
        assert found.draws[draw] == pytest.approx(inception_score(repeated).value)
    with pytest.raises(InputError, match="one row of logits a clip"):
        inception_score(Features.of([rows]))
