from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile
import typer
from typer.testing import CliRunner

from soundleap.cli.evaluate import evaluate
from soundleap.errors import AudioFileError, InputError, SoundleapError
from soundleap.evaluation.clips import EvaluationClip, list_clips, load_clip
from soundleap.evaluation.embeddings import YamnetEmbedder
from soundleap.evaluation.run import evaluate_sets


@pytest.fixture(scope="module")
def yamnet() -> YamnetEmbedder:
    try:
        return YamnetEmbedder()
    except SoundleapError as error:
        pytest.skip(str(error))


def noise(seed: int, seconds: float = 1.5, rate: int = 16000) -> np.ndarray:
    return 0.1 * np.random.default_rng(seed).standard_normal(round(seconds * rate))


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "generated"
    root.mkdir()
    soundfile.write(root / "a.wav", noise(0), 16000)
    soundfile.write(root / "b.flac", noise(1, 0.5), 16000)
    soundfile.write(root / "fast.wav", noise(2, 1.5, 44100), 44100)
    soundfile.write(root / "silent.wav", np.zeros(16000), 16000)
    soundfile.write(root / "nan.wav", np.full(16000, np.nan), 16000, subtype="FLOAT")
    soundfile.write(root / "stereo.wav", np.stack([noise(3), noise(4)], axis=1), 16000)
    (root / "broken.wav").write_bytes(b"not a sound")
    (root / "notes.txt").write_text("ignored")
    return root


def manifest(path, *rows) -> str:
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return str(path)


def test_every_clip_of_a_folder_is_used_or_refused_with_a_reason(folder, yamnet):
    report = evaluate_sets(folder, folder, embedder=yamnet)
    faults = {c.id: c.fault for c in report.clips if c.role == "generated" and c.fault}
    assert set(faults) == {"fast.wav", "silent.wav", "nan.wav", "broken.wav"}
    assert "44100 Hz, not 16000 Hz; give --resample" in faults["fast.wav"]
    assert "silent" in faults["silent.wav"]
    assert "NaN" in faults["nan.wav"]
    assert "can't be read" in faults["broken.wav"]
    notes = {c.id: c.notes for c in report.clips if c.notes}
    assert notes == {"b.flac": ("zero-padded to 0.975 s",), "stereo.wav": ("2 channels averaged",)}
    assert (report.sets[0].used, report.sets[0].refused, report.sets[0].changed) == (3, 4, 2)
    assert [r.dimensions for r in report.frechet] == [1024, 64]
    assert [r.distance for r in report.frechet] == pytest.approx([0, 0], abs=1e-6)
    assert report.frechet[0].warnings


def test_resampling_on_request_keeps_the_length(folder):
    clip = EvaluationClip("fast.wav", folder / "fast.wav")
    sound = load_clip(clip, 16000, resample=True)
    assert sound.waveform.shape == (24000,)
    assert sound.notes == ("resampled from 44100 Hz",)


def test_manifest_stretches_prompts_and_labels(folder):
    path = manifest(
        folder.parent / "m.jsonl",
        {"file": "generated/a.wav", "start": 0.5, "seconds": 0.75, "captions": ["Rain.", "Wet."]},
        {"file": "generated/a.wav", "prompt": "a dog", "label": "dog", "extra": 1},
    )
    first, second = list_clips(path)
    assert (first.id, first.prompt, first.label) == ("generated/a.wav#0.5", "Rain.", None)
    assert (second.duration_in_s, second.prompt, second.label) == (None, "a dog", "dog")
    whole, part = (load_clip(clip, 16000).waveform for clip in (second, first))
    assert np.array_equal(part, whole[8000:20000])


def test_stretches_beyond_the_end_are_refused(folder):
    clip = EvaluationClip("a.wav", folder / "a.wav", 1.0, 1.0)
    with pytest.raises(AudioFileError, match=r"has 0\.500 s from 1 s on; 1\.000 s asked for"):
        load_clip(clip, 16000)


def test_manifest_faults_are_listed_together(tmp_path):
    rows = ({"start": 0}, {"file": "a", "seconds": 0}, {"file": "a", "start": "1"}, ["a"])
    with pytest.raises(InputError, match=r"has 4 faults:\n  line 1: file is None") as caught:
        list_clips(manifest(tmp_path / "m.jsonl", *rows))
    assert "line 4: not a JSON object" in str(caught.value)


def test_nothing_to_evaluate_is_an_error(tmp_path, folder, yamnet):
    with pytest.raises(InputError, match="neither a folder nor a manifest"):
        list_clips(tmp_path / "missing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no clips"):
        list_clips(tmp_path / "empty")
    path = manifest(tmp_path / "m.jsonl", {"file": "generated/silent.wav"})
    with pytest.raises(InputError, match="no clip of the generated set can be used"):
        evaluate_sets(path, folder, embedder=yamnet)


def test_labels_are_judged_and_missing_ones_counted(folder, yamnet):
    rows = [{"file": "generated/a.wav", "label": "rain"}, {"file": "generated/stereo.wav"}]
    path = manifest(folder.parent / "m.jsonl", *rows)
    report = evaluate_sets(path, folder, embedder=yamnet, label_set="esc10")
    generated, reference = report.sets
    assert generated.accuracy is not None
    assert (generated.accuracy.count, generated.unlabelled) == (1, 1)
    assert (reference.accuracy, reference.unlabelled) == (None, 3)


def test_unknown_labels_are_refused_before_any_work(folder):
    path = manifest(folder.parent / "m.jsonl", {"file": "generated/a.wav", "label": "rains"})
    with pytest.raises(InputError, match="did you mean 'rain'"):
        evaluate_sets(path, folder, label_set="esc10")
    with pytest.raises(InputError, match="unknown label set 'esc'"):
        evaluate_sets(path, folder, label_set="esc")


def test_command_prints_and_writes_the_report(folder, yamnet, tmp_path):
    app = typer.Typer()
    app.command()(evaluate)
    arguments = ["--generated", folder, "--reference", folder, "-o", tmp_path / "out"]
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output
    assert "Fréchet distance" in result.output
    assert len(list((tmp_path / "out").iterdir())) == 3
