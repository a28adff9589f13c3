from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from toy_embedder import INFO

from soundleap.errors import InputError, NotFiniteError
from soundleap.evaluation.cache import FeatureCache, caption_key, clip_key, default_cache
from soundleap.evaluation.clips import EvaluationClip
from soundleap.evaluation.embedders.base import ClipFeatures
from soundleap.evaluation.features import Features, FeatureWriter
from soundleap.evaluation.settings import Preparation

CLIP = EvaluationClip("a", "a.wav", None)


def made(seed: int = 0) -> ClipFeatures:
    rng = np.random.default_rng(seed)
    rows, logits = rng.standard_normal((3, 6)), rng.standard_normal((3, 10))
    return ClipFeatures(rows.astype(np.float32), logits.astype(np.float32), ("a note",))


def test_features_come_back_to_the_bit(tmp_path):
    cache, features = FeatureCache(tmp_path), made()
    assert cache.get("toy", "ab12") is None
    cache.put("toy", "ab12", features)
    found = cache.get("toy", "ab12")
    assert np.array_equal(found.embeds, features.embeds)
    assert np.array_equal(found.logits, features.logits)
    assert found.notes == ("a note",)
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["ab12.safetensors"]


def test_features_are_computed_once_and_damaged_files_again(tmp_path):
    cache, calls = FeatureCache(tmp_path), []

    def compute() -> ClipFeatures:
        calls.append(1)
        return made()

    first, second = (cache.clip("toy", "ab", compute) for _ in range(2))
    assert np.array_equal(first.embeds, second.embeds)
    assert len(calls) == 1
    cache.path("toy", "ab").write_bytes(b"half a file")
    cache.clip("toy", "ab", compute)
    assert len(calls) == 2


def test_keys_follow_content_and_settings_and_not_names():
    plain = clip_key("f" * 64, CLIP, Preparation(), INFO)
    assert plain == clip_key("f" * 64, replace(CLIP, id="b", file="b"), Preparation(), INFO)
    refusing = Preparation(resample=True, min_seconds=0.1)
    assert plain == clip_key("f" * 64, CLIP, refusing, INFO)
    others = [
        clip_key("e" * 64, CLIP, Preparation(), INFO),
        clip_key("f" * 64, replace(CLIP, start_in_s=1.0), Preparation(), INFO),
        clip_key("f" * 64, replace(CLIP, duration_in_s=1.0), Preparation(), INFO),
        clip_key("f" * 64, CLIP, Preparation(max_seconds=1), INFO),
        clip_key("f" * 64, CLIP, Preparation(), replace(INFO, weights_sha256="1" * 64)),
        clip_key("f" * 64, CLIP, Preparation(), replace(INFO, name="other")),
        caption_key("rain", INFO),
        caption_key("wind", INFO),
    ]
    assert len({plain, *others}) == len(others) + 1


def test_default_cache_is_in_the_users_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache() == tmp_path / "soundleap" / "evaluation"


def test_writer_gives_the_rows_of_each_clip(tmp_path):
    writer = FeatureWriter(tmp_path / "rows")
    parts = [np.random.default_rng(i).standard_normal((i + 1, 4)) for i in range(5)]
    for part in parts:
        writer.add(part)
    features = writer.finish()
    assert (features.clips, features.dimensions) == (5, 4)
    assert features.lengths.tolist() == [1, 2, 3, 4, 5]
    joined = np.concatenate(parts)
    assert np.array_equal(features.rows, joined.astype(np.float32))
    blocks = [rows for _, rows in features.blocks(4)]
    assert [len(rows) for rows in blocks] == [4, 4, 4, 3]
    assert FeatureWriter(tmp_path / "none").finish() is None


def test_thinning_takes_evenly_spaced_whole_clips():
    features = Features.of([np.full((3, 2), i) for i in range(100)])
    assert features.thinned(300) is features
    thin = features.thinned(30)
    assert len(thin.rows) <= 30
    assert thin.clips >= 9
    assert (thin.rows[0, 0], thin.rows[-1, 0]) == (0, 99)
    assert (thin.lengths == 3).all()
    assert features.thinned(1).clips == 2


def test_bad_features_are_refused():
    with pytest.raises(InputError, match="n >= 1"):
        Features.of([np.zeros((0, 3))])
    with pytest.raises(InputError, match="n >= 1"):
        Features.of(np.zeros(3))
    with pytest.raises(NotFiniteError):
        Features.of(np.array([[np.inf]]))
    with pytest.raises(InputError, match="no class scores"):
        _ = ClipFeatures(np.zeros((1, 2))).tags
