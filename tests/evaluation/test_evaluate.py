"""A whole evaluation, with a small embedder: numbers and counts."""

from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import pytest
import soundfile
from evaluation_sets import QUICK, RATE, numbers, sound, write_set
from scipy import linalg
from toy_embedder import CLASSES, ToyEmbedder

from soundleap.errors import InputError, SoundleapError
from soundleap.evaluation.record import EvaluationRecord, ProtocolStamp
from soundleap.evaluation.record_io import read_record, write_record
from soundleap.evaluation.run import evaluate
from soundleap.evaluation.settings import EvaluationSettings, Matching, Preparation
from soundleap.evaluation.summary import summarise
from soundleap.evaluation.tags import ESC10


def rows_of(folder) -> list[np.ndarray]:
    toy = ToyEmbedder()
    files = sorted(folder.glob("*.wav"))
    return [toy.analyse(soundfile.read(file, dtype="float32")[0]).embeds for file in files]


def test_all_numbers_that_apply_are_there_with_intervals(record):
    names = {value.metric for value in record.metrics}
    assert names == {
        *("fd", "fd-inf", "kad", "kid", "kl", "is", "is-10", "density", "coverage"),
        *("text-score", "text-score-reference", "accuracy-generated", "accuracy-reference"),
        *(f"recall-{way}-{n}" for way in ("text-to-audio", "audio-to-text") for n in (1, 10)),
    }  # fd-pca64 needs more than 64 dimensions
    for value in record.metrics:
        assert value.low is None or value.low <= value.value <= value.high, value.metric
        assert "interval" in value.details
        assert (value.low is None) == (value.metric in ("fd-inf", "is-10"))
    assert record.metric("recall-text-to-audio-1").better == "higher"
    assert record.metric("fd", "toy").better == record.metric("kl").better == "lower"
    assert record.not_computed == {}


def test_frechet_distance_is_scipys(record, sets):
    stats = []
    for folder in sets:
        rows = np.concatenate(rows_of(folder)).astype(np.float64)
        stats.append((rows.mean(axis=0), np.cov(rows.T)))
    (m_1, c_1), (m_2, c_2) = stats
    root = linalg.sqrtm(c_1 @ c_2).real
    expected = ((m_1 - m_2) ** 2).sum() + np.trace(c_1 + c_2 - 2 * root)
    value = record.metric("fd", "toy")
    assert value.value == pytest.approx(expected, rel=1e-6)
    assert (value.generated_count, value.reference_count) == (34, 36)
    assert value.details["generated_rows"] == 34 * 4


def test_pairs_are_found_by_id_and_each_has_its_value(record, sets):
    from scipy.special import rel_entr, softmax

    generated, reference = (
        softmax([np.tile(rows, 5)[:, : len(CLASSES)].mean(axis=0) for rows in rows_of(f)], axis=1)
        for f in sets
    )
    expected = rel_entr(reference[:34], generated).sum(axis=1)
    value = record.metric("kl", "toy")
    assert value.value == pytest.approx(expected.mean(), rel=1e-3, abs=1e-5)
    assert value.details["pairs"] == 34
    found = {c.id: c.scores["kl toy"] for c in record.clips if "kl toy" in c.scores}
    assert len(found) == 34
    assert found["clip-05"] == pytest.approx(expected[5], rel=1e-2, abs=1e-4)


def test_counts_tell_what_was_used(record):
    ours, theirs = record.sets
    assert (ours.listed, ours.used, ours.skipped, ours.unpaired) == (34, 34, {}, 0)
    assert (theirs.used, theirs.unpaired, theirs.rows) == (36, 2, {"toy": 144})
    assert ours.seconds == pytest.approx(34)
    assert [c.role for c in record.confusion] == ["generated", "reference"]
    clip = record.clips[0]
    assert clip.paired
    assert clip.predicted in ESC10
    assert len(clip.tags) == 3
    assert {"text-score toy", "rank-text-to-audio toy"} <= set(clip.scores)


def test_a_set_with_itself_has_distance_zero(sets, feature_cache):
    settings = EvaluationSettings(bootstrap=0, metrics=("fd", "kl", "density-coverage"))
    found = evaluate(sets[0], sets[0], settings, embedders=[ToyEmbedder()], cache=feature_cache)
    assert found.metric("fd").value == pytest.approx(0, abs=1e-9)
    assert found.metric("kl").value == pytest.approx(0, abs=1e-4)
    assert found.metric("coverage").value == 1
    assert found.metric("fd").low is None


def test_listing_order_and_the_cache_play_no_part(record, sets, tmp_path):
    shuffled = []
    for folder in sets:
        lines = (folder / "manifest.jsonl").read_text().splitlines()
        path = folder / "shuffled.jsonl"
        path.write_text("\n".join(lines[::-1]))
        shuffled.append(path)
    settings = dataclasses.replace(QUICK, label_set="esc10")
    again = evaluate(*shuffled, settings, embedders=[ToyEmbedder()], cache=tmp_path)
    assert numbers(again) == numbers(record)


def test_yamnet_is_the_default(tmp_path):
    from soundleap.evaluation.embedders.yamnet import yamnet_data_folder

    try:
        yamnet_data_folder()
    except SoundleapError as error:
        pytest.skip(str(error))
    folders = write_set(tmp_path, "g", 3, 0), write_set(tmp_path, "r", 4, 50)
    settings = EvaluationSettings(bootstrap=0, metrics=("fd", "fd-pca64", "kl"))
    found = evaluate(*folders, settings, cache=tmp_path / "cache")
    assert [(v.metric, v.embedder) for v in found.metrics] == [
        *(("fd", "yamnet"), ("fd-pca64", "yamnet"), ("kl", "yamnet"))
    ]
    assert found.metric("fd").details["dimensions"] == 1024
    assert found.metric("fd-pca64").details["dimensions"] == 64
    assert found.embedders[0].resampler == "soxr VHQ"
    assert len(found.clips[0].tags) == 3


def test_embeddings_are_computed_once(sets, tmp_path):
    settings = EvaluationSettings(bootstrap=0, metrics=("fd",))
    toy = ToyEmbedder()
    first = evaluate(*sets, settings, embedders=[toy], cache=tmp_path)
    assert toy.calls == 70
    second = evaluate(*sets, settings, embedders=[toy], cache=tmp_path)
    assert toy.calls == 70
    assert numbers(first) == numbers(second)


def test_clips_that_can_not_be_used_are_listed_and_count_nowhere(sets, tmp_path, feature_cache):
    root = tmp_path / "generated"
    shutil.copytree(sets[0], root)
    (root / "clip-00.wav").write_bytes(b"none")
    soundfile.write(root / "clip-01.wav", np.zeros(RATE), RATE)
    soundfile.write(root / "clip-02.wav", sound(2), 22050)
    soundfile.write(root / "clip-03.wav", np.full(RATE, np.inf), RATE, subtype="FLOAT")
    soundfile.write(root / "clip-04.wav", sound(4, 0.1), RATE)
    soundfile.write(root / "clip-05.wav", np.stack([sound(5)] * 2, axis=1), RATE)
    soundfile.write(root / "clip-06.wav", sound(6, 0.3), RATE)
    settings = EvaluationSettings(
        bootstrap=0, metrics=("fd", "kl"), preparation=Preparation(min_seconds=0.2)
    )
    found = evaluate(root, sets[1], settings, embedders=[ToyEmbedder()], cache=feature_cache)
    ours, theirs = found.sets
    assert (ours.listed, ours.used) == (34, 29)
    assert ours.skipped == {
        **{"not finite": 1, "sampling rate": 1, "silent": 1, "too short": 1, "unreadable": 1}
    }
    assert ours.changed == {"channels averaged": 1}
    assert theirs.unpaired == 36 - 29
    assert found.metric("kl").generated_count == 29
    refused = {clip.id: clip for clip in found.clips if clip.fault}
    assert set(refused) == {f"clip-0{i}" for i in range(5)}
    assert refused["clip-02"].refused == {"toy": refused["clip-02"].fault}
    assert not any(clip.paired or clip.scores for clip in refused.values())


def test_an_embedder_that_can_use_nothing_is_told_and_the_others_go_on(sets, feature_cache):
    both = [ToyEmbedder(), ToyEmbedder("fast", 44100)]
    settings = EvaluationSettings(bootstrap=0, metrics=("fd",))
    found = evaluate(*sets, settings, embedders=both, cache=feature_cache)
    assert found.not_computed == {"all fast": "no clip of the generated set can be used"}
    assert [value.embedder for value in found.metrics] == ["toy"]
    with pytest.raises(InputError, match=r"no clip of the generated set .*sampling rate \(34\)"):
        evaluate(*sets, settings, embedders=both[1:], cache=feature_cache)
    resampled = dataclasses.replace(settings, preparation=Preparation(resample=True))
    found = evaluate(*sets, resampled, embedders=both[1:], cache=feature_cache)
    assert found.sets[0].changed == {"resampled": 34}


def test_small_sets_say_what_can_not_be_computed(tmp_path, feature_cache):
    folders = write_set(tmp_path, "g", 1, 0), write_set(tmp_path, "r", 2, 50)
    found = evaluate(
        *folders, EvaluationSettings(bootstrap=0), embedders=[ToyEmbedder()], cache=feature_cache
    )
    assert {"kad toy", "kid toy", "fd-inf toy", "density-coverage toy"} <= set(found.not_computed)
    assert "needs 30" in found.not_computed["fd-inf toy"]
    assert any("biased upwards" in text for text in found.metric("fd").warnings)


def test_references_may_be_shared_and_captions_come_from_the_matching(sets, feature_cache):
    matching = Matching(
        ids=("clip-01", "clip-02", "clip-03"),
        captions={"clip-01": "rain"},
        references={"clip-01": "clip-07", "clip-02": "clip-07", "clip-03": "clip-08"},
    )
    settings = EvaluationSettings(bootstrap=0, metrics=("kl", "text-score"))
    found = evaluate(
        *sets, settings, matching=matching, embedders=[ToyEmbedder()], cache=feature_cache,
        protocol=ProtocolStamp("small", "a" * 64), system={"num_inference_steps": 2},
    )  # fmt: skip
    value = found.metric("kl")
    assert (value.generated_count, value.reference_count) == (3, 2)
    assert found.metric("text-score").generated_count == 1
    assert found.sets[0].skipped == {"not in the list": 31}
    assert found.sets[1].used == 2
    assert found.system == {"name": "generated", "num_inference_steps": 2}
    assert "protocol: small, SHA-256 aaaa" in summarise(found)


def test_captions_of_the_reference_serve_where_there_are_none(sets, feature_cache):
    settings = EvaluationSettings(bootstrap=0, metrics=("text-score",))
    manifest = sets[1] / "manifest.jsonl"
    found = evaluate(sets[0], manifest, settings, embedders=[ToyEmbedder()], cache=feature_cache)
    assert found.metric("text-score").generated_count == 34
    assert {clip.prompt for clip in found.clips if clip.id == "clip-10"} == {"sound 1"}
    found = evaluate(*sets, settings, embedders=[ToyEmbedder()], cache=feature_cache)
    assert found.not_computed == {"text-score toy": "no generated clip has a caption"}
    assert found.sets[0].without_caption == 34


def test_labels_need_a_known_set_and_a_tagger_with_names(sets, feature_cache):
    generated = sets[0] / "manifest.jsonl"
    with pytest.raises(InputError, match="unknown label set 'esc'"):
        evaluate(generated, sets[1], EvaluationSettings(label_set="esc"), cache=feature_cache)
    toy = ToyEmbedder()
    toy.class_names = ()
    with pytest.raises(InputError, match="add --embedder yamnet"):
        evaluate(generated, sets[1], EvaluationSettings(label_set="esc10"), embedders=[toy])


def test_unknown_labels_are_refused_before_any_work(sets, tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_text(json.dumps({"file": "a.wav", "label": "rains"}))
    with pytest.raises(InputError, match="did you mean 'rain'"):
        evaluate(path, sets[1], EvaluationSettings(label_set="esc10"))


def test_record_is_written_whole_and_read_back(record, tmp_path):
    paths = write_record(record, tmp_path / "out")
    assert [p.name for p in paths] == ["evaluation.json", "clips.jsonl", "clips.csv"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(p.name for p in paths)
    assert numbers(read_record(tmp_path / "out")) == numbers(record)
    assert EvaluationRecord.from_json(record.to_json()) == read_record(tmp_path / "out")
    lines = paths[2].read_text().splitlines()
    assert len(lines) == 71
    assert "kl toy" in lines[0].split(",")
    with pytest.raises(InputError, match="is not there"):
        read_record(tmp_path / "none")
    (tmp_path / "evaluation.json").write_text("{}")
    with pytest.raises(InputError, match="not an evaluation record of format 1"):
        read_record(tmp_path)


def test_summary_tells_numbers_counts_and_warnings(record):
    text = summarise(record)
    assert "fd-inf" in text
    assert "generated: 34 of 34 clips used, 34.0 s" in text
    assert "unpaired: 2" in text
