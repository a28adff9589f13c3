from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile

from soundleap.errors import AudioFileError, InputError
from soundleap.evaluation.captions import read_caption_file
from soundleap.evaluation.clips import EvaluationClip, list_clips, match_clips
from soundleap.evaluation.settings import EvaluationSettings, Matching, Preparation
from soundleap.evaluation.sounds import at_rate, kind_of, read_sound


def noise(seed: int, seconds: float = 1.5, rate: int = 16000) -> np.ndarray:
    return 0.1 * np.random.default_rng(seed).standard_normal(round(seconds * rate))


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "generated"
    (root / "deep").mkdir(parents=True)
    soundfile.write(root / "a.wav", noise(0), 16000)
    soundfile.write(root / "deep" / "b.flac", noise(1, 0.5), 16000)
    soundfile.write(root / "fast.wav", noise(2, 1.5, 44100), 44100)
    soundfile.write(root / "silent.wav", np.zeros(16000), 16000)
    soundfile.write(root / "nan.wav", np.full(16000, np.nan), 16000, subtype="FLOAT")
    soundfile.write(root / "empty.wav", np.zeros(0), 16000)
    soundfile.write(root / "stereo.wav", np.stack([noise(3), noise(4)], axis=1), 16000)
    (root / "broken.wav").write_bytes(b"not a sound")
    (root / "notes.txt").write_text("ignored")
    return root


def manifest(path, *rows) -> str:
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return str(path)


def clip_of(folder, name: str) -> EvaluationClip:
    return next(clip for clip in list_clips(folder) if clip.file == name)


def test_folder_is_listed_by_id_without_endings(folder):
    clips = list_clips(folder)
    assert [clip.id for clip in clips] == sorted(
        ["a", "broken", "deep/b", "empty", "fast", "nan", "silent", "stereo"]
    )
    assert clip_of(folder, "deep/b.flac").path == folder / "deep" / "b.flac"


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("silent.wav", "silent: peak below 0.0001"),
        ("nan.wav", "not finite: holds NaN or infinity"),
        ("empty.wav", "too short: 0.000 s from 0 s on; 0.000 s asked for"),
        ("broken.wav", "unreadable: "),
    ],
)
def test_what_can_not_be_used_says_why(folder, name: str, fault: str):
    with pytest.raises(AudioFileError) as caught:
        read_sound(clip_of(folder, name), Preparation())
    assert str(caught.value).startswith(fault)
    assert kind_of(str(caught.value)) == fault.partition(":")[0]


def test_channels_are_averaged_and_it_is_told(folder):
    sound = read_sound(clip_of(folder, "stereo.wav"), Preparation())
    assert (sound.channels, sound.notes) == (2, ("channels averaged: 2",))
    left, right = (read[:24000] for read in soundfile.read(folder / "stereo.wav")[0].T)
    assert sound.waveform == pytest.approx((left + right) / 2, abs=1e-6)


def test_other_rates_are_refused_or_converted_on_request(folder):
    clip = clip_of(folder, "fast.wav")
    sound = read_sound(clip, Preparation())
    with pytest.raises(AudioFileError, match="sampling rate: 44100 Hz, not 16000 Hz; give --res"):
        at_rate(sound, 16000, Preparation())
    made = at_rate(sound, 16000, Preparation(resample=True))
    assert (made.waveform.size, made.rate, made.file_rate) == (24000, 16000, 44100)
    assert made.notes == ("resampled: from 44100 Hz to 16000 Hz",)
    assert at_rate(sound, 44100, Preparation()) is sound


def test_preparation_cuts_levels_and_refuses_what_is_short(folder):
    clip = clip_of(folder, "a.wav")
    sound = read_sound(clip, Preparation(max_seconds=0.5, level_in_dbfs=-30))
    assert sound.seconds == 0.5
    assert 20 * np.log10(np.sqrt(np.mean(sound.waveform**2))) == pytest.approx(-30, abs=0.2)
    assert sound.notes[0] == "cut: after 0.5 s"
    assert kind_of(sound.notes[1]) == "levelled"
    with pytest.raises(AudioFileError, match=r"too short: 1\.500 s, at least 2 s"):
        read_sound(clip, Preparation(min_seconds=2))
    with pytest.raises(InputError, match="max_seconds is 1 s; allowed: 2 to"):
        Preparation(min_seconds=2, max_seconds=1)
    with pytest.raises(InputError, match="resampler"):
        Preparation(resampler="other")


def test_manifest_stretches_prompts_labels_and_ids(folder):
    path = manifest(
        folder.parent / "m.jsonl",
        {"file": "generated/a.wav", "start": 0.5, "seconds": 0.75, "captions": ["Rain.", "Wet."]},
        {"file": "generated/a.wav", "id": "z", "prompt": "a dog", "label": "dog", "extra": 1},
    )
    first, second = list_clips(path)
    assert (first.id, first.prompt, first.label) == ("generated/a#0.5", "Rain.", None)
    assert (second.id, second.duration_in_s, second.prompt) == ("z", None, "a dog")
    whole, part = (read_sound(clip, Preparation()).waveform for clip in (second, first))
    assert np.array_equal(part, whole[8000:20000])


def test_stretches_beyond_the_end_are_refused(folder):
    clip = EvaluationClip("a", "a.wav", folder / "a.wav", 1.0, 1.0)
    with pytest.raises(AudioFileError, match=r"too short: 0\.500 s from 1 s on; 1\.000 s asked"):
        read_sound(clip, Preparation())


def test_manifest_faults_are_listed_together(tmp_path):
    rows = ({"start": 0}, {"file": "a", "seconds": 0}, {"file": "a", "start": "1"}, ["a"])
    with pytest.raises(InputError, match=r"has 4 faults:\n  line 1: file is None") as caught:
        list_clips(manifest(tmp_path / "m.jsonl", *rows))
    assert "line 4: not a JSON object" in str(caught.value)
    with pytest.raises(InputError, match="neither a folder nor a manifest"):
        list_clips(tmp_path / "missing")
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="holds no clips"):
        list_clips(tmp_path / "none")


def test_files_of_one_id_are_all_refused(folder):
    soundfile.write(folder / "a.flac", noise(5), 16000)
    faults = [clip.fault for clip in list_clips(folder) if clip.id == "a"]
    assert faults == ["same id: a.flac, a.wav"] * 2


def test_matching_takes_what_is_listed_and_names_what_is_missing(folder):
    matching = Matching(
        ids=("A", "deep/b", "gone"),
        captions={"A": "rain"},
        labels={"A": "rain"},
        resolve=lambda name: {"a": "A", "stereo": None}.get(name, name),
    )
    clips = match_clips(list_clips(folder), "generated", matching)
    assert [clip.id for clip in clips] == sorted(clip.id for clip in clips)
    found = {clip.id: clip for clip in clips}
    assert (found["A"].prompt, found["A"].label, found["A"].fault) == ("rain", "rain", None)
    assert (found["deep/b"].prompt, found["deep/b"].fault) == (None, None)
    assert found["gone"].fault == "missing: no such clip"
    assert kind_of(found["stereo"].fault) == kind_of(found["fast"].fault) == "not in the list"


def test_several_generated_clips_may_share_a_reference(folder):
    matching = Matching(ids=("a-c1", "a-c2"), references={"a-c1": "a", "a-c2": "a"})
    assert matching.wanted("reference") == {"a"}
    usable = [c.id for c in match_clips(list_clips(folder), "reference", matching) if not c.fault]
    assert usable == ["a"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("c.csv", 'id,caption\na,"rain, wet"\nb,wind\n'),
        ("c.tsv", "caption\tid\nrain, wet\ta\nwind\tb\n"),
        ("c.jsonl", '{"id": "a", "captions": ["rain, wet", "x"]}\n\n{"id": "b", "prompt": "wind"}'),
    ],
)
def test_captions_are_read_from_tables_and_lines(tmp_path, name: str, text: str):
    (tmp_path / name).write_text(text)
    assert read_caption_file(tmp_path / name) == {"a": "rain, wet", "b": "wind"}


def test_faulty_captions_are_refused(tmp_path):
    path = tmp_path / "c.csv"
    path.write_text("id,caption\na,rain\na,wind\n,x\n")
    with pytest.raises(InputError, match="line 3: a second caption for 'a'") as caught:
        read_caption_file(path)
    assert "line 4: id is ''" in str(caught.value)
    with pytest.raises(InputError, match="is not there"):
        read_caption_file(tmp_path / "none.csv")
    (tmp_path / "c.txt").write_text("")
    with pytest.raises(InputError, match=r"allowed: \.csv, \.tsv, \.jsonl"):
        read_caption_file(tmp_path / "c.txt")


def test_settings_name_what_is_wrong():
    with pytest.raises(InputError, match="did you mean 'kad'"):
        EvaluationSettings(metrics=("kadd",))
    with pytest.raises(InputError, match="once each"):
        EvaluationSettings(embedders=("yamnet", "yamnet"))
    with pytest.raises(InputError, match="embedder in weights"):
        EvaluationSettings(weights={"clap": "x"})
    with pytest.raises(InputError, match="bootstrap is -1"):
        EvaluationSettings(bootstrap=-1)
