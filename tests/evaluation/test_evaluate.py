"""A whole evaluation, with a small embedder: numbers, counts, shards, the command."""

from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import pytest
import soundfile
from scipy import linalg
from toy_embedder import CLASSES, ToyEmbedder

from soundleap.cli.main import main
from soundleap.errors import InputError, SoundleapError
from soundleap.evaluation import embedders as table
from soundleap.evaluation.cache import FeatureCache
from soundleap.evaluation.collect import Shard
from soundleap.evaluation.record import EvaluationRecord, ProtocolStamp
from soundleap.evaluation.record_io import read_record, write_record
from soundleap.evaluation.run import evaluate, gather
from soundleap.evaluation.settings import EvaluationSettings, Matching, Preparation
from soundleap.evaluation.shards import merge_shards, parse_shard, write_shard
from soundleap.evaluation.summary import summarise
from soundleap.evaluation.tags import ESC10

RATE = 16000
QUICK = EvaluationSettings(bootstrap=12)


def sound(seed: int, seconds: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * RATE)) / RATE
    tone = np.sin(2 * np.pi * rng.uniform(100, 7000) * t)
    return 0.2 * tone * rng.uniform(0.2, 1) + 0.05 * rng.standard_normal(len(t))


def write_set(root, role: str, count: int, seed: int):
    folder = root / role
    folder.mkdir(parents=True)
    rows = []
    for i in range(count):
        name = f"clip-{i:02d}.wav"
        soundfile.write(folder / name, sound(seed + i), RATE)
        rows.append(
            {
                "file": name,
                "id": f"clip-{i:02d}",
                "prompt": f"sound {i % 9}",
                "label": list(ESC10)[i % 10],
            }
        )
    path = folder / "manifest.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    root = tmp_path_factory.mktemp("sets")
    return write_set(root, "generated", 34, 0), write_set(root, "reference", 36, 100)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def record(sets, cache) -> EvaluationRecord:
    generated, reference = (folder / "manifest.jsonl" for folder in sets)
    settings = dataclasses.replace(QUICK, label_set="esc10")
    return evaluate(generated, reference, settings, embedders=[ToyEmbedder()], cache=cache)


def rows_of(folder) -> list[np.ndarray]:
    toy = ToyEmbedder()
    files = sorted(folder.glob("*.wav"))
    return [toy.analyse(soundfile.read(file, dtype="float32")[0]).embeds for file in files]


def numbers(record: EvaluationRecord) -> dict:
    """All that must not depend on how the work was cut."""
    data = json.loads(record.to_json())
    for name in ("seconds", "command", "settings"):
        del data[name]
    return data


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


def test_a_set_with_itself_has_distance_zero(sets, cache):
    settings = EvaluationSettings(bootstrap=0, metrics=("fd", "kl", "density-coverage"))
    found = evaluate(sets[0], sets[0], settings, embedders=[ToyEmbedder()], cache=cache)
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


def make_shards(sets, folder, count: int) -> None:
    generated, reference = (part / "manifest.jsonl" for part in sets)
    settings = dataclasses.replace(QUICK, label_set="esc10")
    for index in range(count, 0, -1):
        shard = Shard(index, count)
        collected = gather(
            generated,
            reference,
            settings,
            FeatureCache(folder / "cache"),
            matching=Matching(),
            embedders=[ToyEmbedder()],
            shard=shard,
        )
        write_shard(collected, shard, folder)


@pytest.mark.parametrize("count", [1, 3])
def test_merged_shards_are_the_whole_to_the_bit(record, sets, tmp_path, count: int):
    make_shards(sets, tmp_path, count)
    merged = merge_shards([tmp_path], tmp_path / "cache")
    assert numbers(merged) == numbers(record)
    assert merged.settings_hash == record.settings_hash


def test_merging_refuses_what_does_not_belong_together(sets, tmp_path):
    make_shards(sets, tmp_path, 2)
    with pytest.raises(InputError, match=r"no shard-\*-of-\*\.json"):
        merge_shards([tmp_path / "cache"], tmp_path / "cache")
    with pytest.raises(InputError, match=r"there twice: \[1, 2\]"):
        merge_shards([tmp_path, tmp_path], tmp_path / "cache")
    with pytest.raises(SoundleapError, match="not in the cache"):
        merge_shards([tmp_path], tmp_path / "other")
    path = tmp_path / "shard-2-of-2.json"
    text = path.read_text()
    path.write_text(text.replace('"bootstrap": 12', '"bootstrap": 13'))
    with pytest.raises(InputError, match="shard 2 was made with another settings"):
        merge_shards([tmp_path], tmp_path / "cache")
    path.unlink()
    with pytest.raises(InputError, match=r"shards are missing: \[2\]"):
        merge_shards([tmp_path], tmp_path / "cache")


def test_shards_are_named_by_part_and_count():
    assert parse_shard("2/8") == Shard(2, 8)
    for text in ("2", "a/b", "0/3", "4/3", "1/0", "-1/3"):
        with pytest.raises(InputError, match="shard"):
            parse_shard(text)


def test_clips_that_can_not_be_used_are_listed_and_count_nowhere(sets, tmp_path, cache):
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
    found = evaluate(root, sets[1], settings, embedders=[ToyEmbedder()], cache=cache)
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


def test_an_embedder_that_can_use_nothing_is_told_and_the_others_go_on(sets, cache):
    both = [ToyEmbedder(), ToyEmbedder("fast", 44100)]
    settings = EvaluationSettings(bootstrap=0, metrics=("fd",))
    found = evaluate(*sets, settings, embedders=both, cache=cache)
    assert found.not_computed == {"all fast": "no clip of the generated set can be used"}
    assert [value.embedder for value in found.metrics] == ["toy"]
    with pytest.raises(InputError, match=r"no clip of the generated set .*sampling rate \(34\)"):
        evaluate(*sets, settings, embedders=both[1:], cache=cache)
    resampled = dataclasses.replace(settings, preparation=Preparation(resample=True))
    found = evaluate(*sets, resampled, embedders=both[1:], cache=cache)
    assert found.sets[0].changed == {"resampled": 34}


def test_small_sets_say_what_can_not_be_computed(tmp_path, cache):
    folders = write_set(tmp_path, "g", 1, 0), write_set(tmp_path, "r", 2, 50)
    found = evaluate(
        *folders, EvaluationSettings(bootstrap=0), embedders=[ToyEmbedder()], cache=cache
    )
    assert {"kad toy", "kid toy", "fd-inf toy", "density-coverage toy"} <= set(found.not_computed)
    assert "needs 30" in found.not_computed["fd-inf toy"]
    assert any("biased upwards" in text for text in found.metric("fd").warnings)


def test_references_may_be_shared_and_captions_come_from_the_matching(sets, cache):
    matching = Matching(
        ids=("clip-01", "clip-02", "clip-03"),
        captions={"clip-01": "rain"},
        references={"clip-01": "clip-07", "clip-02": "clip-07", "clip-03": "clip-08"},
    )
    settings = EvaluationSettings(bootstrap=0, metrics=("kl", "text-score"))
    found = evaluate(
        *sets, settings, matching=matching, embedders=[ToyEmbedder()], cache=cache,
        protocol=ProtocolStamp("small", "a" * 64), system={"num_inference_steps": 2},
    )  # fmt: skip
    value = found.metric("kl")
    assert (value.generated_count, value.reference_count) == (3, 2)
    assert found.metric("text-score").generated_count == 1
    assert found.sets[0].skipped == {"not in the list": 31}
    assert found.sets[1].used == 2
    assert found.system == {"name": "generated", "num_inference_steps": 2}
    assert "protocol: small, SHA-256 aaaa" in summarise(found)


def test_labels_need_a_known_set_and_a_tagger_with_names(sets, cache):
    generated = sets[0] / "manifest.jsonl"
    with pytest.raises(InputError, match="unknown label set 'esc'"):
        evaluate(generated, sets[1], EvaluationSettings(label_set="esc"), cache=cache)
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


@pytest.fixture
def with_toy(monkeypatch):
    import toy_embedder

    toy_embedder.open_toy = lambda weights, device: ToyEmbedder()
    monkeypatch.setitem(table.EMBEDDERS, "toy", "toy:open_toy")
    monkeypatch.setattr(table, "OFFLINE", ("toy",))
    monkeypatch.setitem(
        __import__("sys").modules, "soundleap.evaluation.embedders.toy", toy_embedder
    )


def test_command_writes_record_and_report(sets, tmp_path, with_toy, capsys):
    (sets[0] / "system.json").write_text('{"name": "student", "num_inference_steps": 2}')
    arguments = ["evaluate", "--generated", str(sets[0]), "--reference", str(sets[1])]
    arguments += ["--embedder", "toy", "--metric", "fd", "--metric", "kl", "--bootstrap", "10"]
    arguments += ["--system", "guidance_scale=4.5", "--cache", str(tmp_path / "cache")]
    assert main([*arguments, "-o", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "system: student" in printed
    assert "kl " in printed
    found = read_record(tmp_path / "out")
    assert found.system == {"name": "student", "num_inference_steps": 2, "guidance_scale": 4.5}
    assert [value.metric for value in found.metrics] == ["fd", "kl"]
    assert found.command.startswith("soundleap evaluate --generated ")
    assert "--metric fd --metric kl" in found.command
    (sets[0] / "system.json").unlink()


def test_command_does_shards_and_merges_them(sets, tmp_path, with_toy, capsys):
    common = ["evaluate", "--generated", str(sets[0]), "--reference", str(sets[1])]
    common += ["--embedder", "toy", "--metric", "fd", "--bootstrap", "0"]
    for part in ("1/2", "2/2"):
        assert main([*common, "--shard", part, "-o", str(tmp_path / "parts")]) == 0
    assert main(["evaluate", "merge", str(tmp_path / "parts"), "-o", str(tmp_path / "a")]) == 0
    assert main([*common, "--cache", str(tmp_path / "parts/cache"), "-o", str(tmp_path / "b")]) == 0
    one, two = (read_record(tmp_path / name) for name in "ab")
    assert numbers(one) == numbers(two)
    capsys.readouterr()
    assert main([*common, "--shard", "1/2"]) == 2
    assert "--shard needs --output" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ([], "give --generated and --reference"),
        (["--list", "x"], "--list belongs to --protocol"),
        (["--protocol", "x", "--resample"], "the protocol fixes --resample"),
        (["--embedder", "yamnt"], "did you mean 'yamnet'"),
        (["--metric", "fdd"], "unknown metric 'fdd'"),
        (["--system", "steps"], "--system is 'steps'; expected NAME=VALUE"),
        (["--embedder", "vggish"], "give --weights vggish=PATH"),
    ],
)
def test_command_refuses_what_does_not_go_together(sets, capsys, extra, message: str):
    base = ["--generated", str(sets[0]), "--reference", str(sets[1])] if extra else []
    assert main(["evaluate", *base, *extra]) == 2
    assert message in capsys.readouterr().err
