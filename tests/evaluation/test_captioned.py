from __future__ import annotations

import numpy as np
import pytest

from soundleap.errors import InputError
from soundleap.evaluation import captioned
from soundleap.evaluation.captioned import caption_fit
from soundleap.evaluation.features import Features


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def random_unit(seed: int, count: int) -> np.ndarray:
    return unit(np.random.default_rng(seed).standard_normal((count, 5)))


def test_perfect_pairs_are_found_first():
    rows = random_unit(0, 20)
    fit = caption_fit(Features.of(rows), rows, [f"sound {i}" for i in range(20)])
    assert fit.cosines == pytest.approx(1)
    assert fit.text_ranks.tolist() == fit.audio_ranks.tolist() == [1] * 20


def test_ranks_count_what_is_nearer(monkeypatch):
    monkeypatch.setattr(captioned, "BLOCK", 4)
    sounds, texts = random_unit(1, 15), random_unit(2, 15)
    fit = caption_fit(Features.of(sounds), texts, [f"sound {i}" for i in range(15)])
    similar = texts @ sounds.T
    own = np.diag(similar)
    assert fit.cosines == pytest.approx(own)
    assert fit.text_ranks.tolist() == (1 + (similar > own[:, None]).sum(axis=1)).tolist()
    assert fit.audio_ranks.tolist() == (1 + (similar > own).sum(axis=0)).tolist()


def test_clips_of_the_same_caption_are_no_rivals():
    texts = unit(np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
    sounds = unit(np.array([[1.0, 0.9], [1.0, 0.0], [0.0, 1.0]]))
    fit = caption_fit(Features.of(sounds), texts, ["rain", "rain", "wind"])
    assert fit.text_ranks.tolist() == [1, 1, 1]
    assert fit.audio_ranks.tolist() == [1, 1, 1]
    assert fit.captions == 2


def test_every_caption_is_one_candidate_for_a_clip():
    texts = unit(np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.0, 1.0]]))
    sounds = unit(np.array([[0.1, 1.0], [0.0, 1.0], [0.0, 1.0], [0.0, 1.0]]))
    fit = caption_fit(Features.of(sounds), texts, ["rain", "wind", "wind", "wind"])
    assert fit.audio_ranks[0] == 2
    assert fit.text_ranks.tolist() == [1, 1, 1, 1]


def test_counts_must_agree():
    with pytest.raises(InputError, match="must be equal"):
        caption_fit(Features.of(random_unit(0, 3)), random_unit(0, 2), ["a", "b", "c"])
