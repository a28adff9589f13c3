from __future__ import annotations

import numpy as np
import pytest

from soundleap.errors import InputError, NotFiniteError, SoundleapError
from soundleap.evaluation.embedders.yamnet import read_class_names, yamnet_data_folder
from soundleap.evaluation.tags import (
    ESC10,
    ESC10_ALIASES,
    LinearJudge,
    TagClassifier,
    pool,
    tag_accuracy,
    wilson_interval,
)

CLASSES = ("Dog", "Bark", "Rain")
MAPPING = {"dog": ("Dog", "Bark"), "rain": ("Rain",)}


def blobs(seed: int, per_label: int = 12) -> tuple[list[np.ndarray], list[str]]:
    rng = np.random.default_rng(seed)
    labels = ["a", "b", "c"] * per_label
    centres = {"a": [3, 0, 0, 0], "b": [0, 3, 0, 0], "c": [0, 0, 3, 0]}
    clips = [rng.standard_normal((rng.integers(1, 5), 4)) + centres[label] for label in labels]
    return clips, labels


def test_esc10_classes_exist_in_the_class_map():
    try:
        names = read_class_names(yamnet_data_folder() / "yamnet_class_map.csv")
    except SoundleapError as error:
        pytest.skip(str(error))
    assert len(names) == 521
    assert TagClassifier(ESC10, names).labels == tuple(ESC10)


def test_esc10_has_ten_disjoint_classes():
    used = [name for names in ESC10.values() for name in names]
    assert len(ESC10) == 10
    assert len(used) == len(set(used))
    assert set(ESC10_ALIASES.values()) <= set(ESC10)


def test_prediction_is_the_largest_class_of_the_mean_over_patches():
    classifier = TagClassifier(MAPPING, CLASSES)
    tags = np.array([[0.0, 0.9, 0.0], [0.0, 0.1, 0.6], [0.0, 0.2, 0.7]])
    assert classifier.scores(tags) == pytest.approx([0.4, 1.3 / 3])
    assert classifier.predict(tags) == "rain"
    assert classifier.predict(tags[:1]) == "dog"


def test_classifier_refuses_unknown_classes_and_bad_tags():
    with pytest.raises(InputError, match="did you mean 'Bark'"):
        TagClassifier({"dog": ("Barks",)}, CLASSES)
    with pytest.raises(InputError, match="mapping is empty"):
        TagClassifier({}, CLASSES)
    classifier = TagClassifier(MAPPING, CLASSES)
    with pytest.raises(InputError, match=r"\[0, 3\]"):
        classifier.predict(np.zeros((0, 3)))
    with pytest.raises(NotFiniteError):
        classifier.predict(np.full((1, 3), np.nan))


def test_accuracy_counts_and_confusion():
    result = tag_accuracy(["a", "b", "b"], ["a", "a", "b"], labels=["b", "a"])
    assert (result.correct, result.count) == (2, 3)
    assert result.accuracy == pytest.approx(2 / 3)
    assert result.confusion == ((1, 0), (1, 1))
    assert result.low < 2 / 3 < result.high


def test_accuracy_refuses_what_does_not_fit():
    with pytest.raises(InputError, match="2 predictions for 1 labels"):
        tag_accuracy(["a", "b"], ["a"])
    with pytest.raises(InputError, match="at least 1"):
        tag_accuracy([], [])
    with pytest.raises(InputError, match="unknown label 'c'"):
        tag_accuracy(["c"], ["a"], labels=["a", "b"])


def test_wilson_interval_has_its_known_values():
    assert wilson_interval(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson_interval(0, 10)[0] == 0
    assert wilson_interval(10, 10)[1] == pytest.approx(1)
    with pytest.raises(InputError, match="correct is 11"):
        wilson_interval(11, 10)


def test_pooling_is_mean_and_maximum():
    assert pool(np.array([[0.0, 2.0], [4.0, 1.0]])).tolist() == [2.0, 1.5, 4.0, 2.0]


def test_judge_learns_separable_labels_and_is_deterministic():
    clips, labels = blobs(0)
    judge, again = LinearJudge.fit(clips, labels), LinearJudge.fit(clips, labels)
    assert np.array_equal(judge.weights, again.weights)
    held_out, truth = blobs(1)
    assert tag_accuracy([judge.predict(c) for c in held_out], truth).accuracy > 0.9
    assert judge.scores(held_out[0]).sum() == pytest.approx(1)
    assert judge.top(held_out[0], 3)[0] == judge.predict(held_out[0])
    assert sorted(judge.top(held_out[0], 3)) == ["a", "b", "c"]


def test_judge_with_strong_penalty_falls_back_to_label_frequencies():
    clips, labels = blobs(2)
    judge = LinearJudge.fit(clips, labels, weight_decay=1e6)
    assert judge.scores(clips[0]) == pytest.approx([1 / 3] * 3, abs=1e-3)


def test_judge_ignores_constant_features():
    clips, labels = blobs(3)
    judge = LinearJudge.fit([np.pad(c, ((0, 0), (0, 1))) for c in clips], labels)
    assert np.isfinite(judge.scores(np.pad(clips[0], ((0, 0), (0, 1))))).all()


def test_judge_refuses_bad_training_sets():
    clips, labels = blobs(4)
    with pytest.raises(InputError, match="at least 2 kinds"):
        LinearJudge.fit(clips, ["a"] * len(clips))
    with pytest.raises(InputError, match="weight_decay is 0"):
        LinearJudge.fit(clips, labels, weight_decay=0)
