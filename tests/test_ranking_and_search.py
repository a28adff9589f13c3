"""The best of several tries, and search in one's own takes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from soundleap.audio.metadata import read_metadata
from soundleap.cli.main import main
from soundleap.errors import AudioFileError, InputError
from soundleap.generator import Generator
from soundleap.models.text_audio import DEFAULT_FOLDER, TextAudioModel
from soundleap.models.text_audio_towers import TextAudioConfig
from soundleap.pipeline import TextToAudio
from soundleap.ranking import Ranker, Tries, available, best_takes, candidate_seeds
from soundleap.requests import Request
from soundleap.search import INDEX, search

RATE = 16000


@pytest.fixture(scope="module")
def model() -> TextAudioModel:
    return TextAudioModel.default()


@pytest.fixture
def takes(tmp_path: Path) -> Path:
    """Noise, a tone at another rate, and a tone in a folder below; one file is no sound."""
    folder, rng = tmp_path / "takes", np.random.default_rng(0)
    (folder / "more").mkdir(parents=True)
    soundfile.write(folder / "noise.wav", 0.1 * rng.standard_normal(RATE), RATE)
    for name, rate, pitch in (("high.flac", 44100, 2000), ("more/low.wav", RATE, 200)):
        time = np.arange(rate) / rate
        soundfile.write(folder / name, 0.3 * np.sin(2 * np.pi * pitch * time), rate)
    (folder / "broken.wav").write_text("not a sound")
    return folder


def test_the_model_ships_within_its_size() -> None:
    assert available()
    assert sum(path.stat().st_size for path in DEFAULT_FOLDER.iterdir()) <= 2_900_000


def test_the_shipped_model_tells_a_tone_from_noise(model: TextAudioModel) -> None:
    time, rng = np.arange(2 * RATE) / RATE, np.random.default_rng(0)
    tone = (0.3 * np.sin(2 * np.pi * 440 * time)).astype(np.float32)
    noise = (0.1 * rng.standard_normal(len(time))).astype(np.float32)
    texts = model.embed_text(["white noise", "a sine tone at 440 hertz"])
    scores = np.stack([model.embed_audio(noise), model.embed_audio(tone)]) @ texts.T
    assert scores[0, 0] > scores[0, 1]
    assert scores[1, 1] > scores[1, 0]


def test_seeds_of_tries() -> None:
    assert candidate_seeds(7, 1) == [7]
    four = candidate_seeds(7, 4)
    assert four[:2] == candidate_seeds(7, 2)
    seeds = [seed for first in range(100) for seed in candidate_seeds(first, 16)]
    assert len(set(seeds)) == len(seeds)


def test_of_equal_tries_the_earliest_is_kept_in_whatever_order_they_come() -> None:
    for order in ((0, 1, 2), (2, 1, 0)):
        tries = Tries.of(5, 3)
        ends = [tries.add(number, (0.1, 0.4, 0.4)[number], f"sound {number}") for number in order]
        assert ends == [False, False, True]
        assert tries.kept == (1, "sound 1")
        assert tries.facts("judge")["scores"] == [0.1, 0.4, 0.4]


def test_the_best_try_is_kept_and_can_be_made_again(
    pipeline: TextToAudio, model: TextAudioModel
) -> None:
    requests = [Request("rain", duration_in_s=0.6, seed=3), Request("a dog", duration_in_s=0.5)]
    ranker, generator = Ranker(model), Generator(pipeline)
    kept = dict(best_takes(generator, requests, 3, ranker))
    again = dict(best_takes(generator, requests[:1], 3, ranker))
    assert sorted(kept) == [0, 1]
    np.testing.assert_array_equal(kept[0].waveform, again[0].waveform)
    facts = kept[0].metadata["ranking"]
    assert facts["seed"] == 3
    assert facts["try"] == 1 + int(np.argmax(facts["scores"]))
    assert kept[0].seed == kept[0].metadata["seed"] == candidate_seeds(3, 3)[facts["try"] - 1]
    alone = generator.generate([Request("rain", duration_in_s=0.6, seed=kept[0].seed)])[0]
    np.testing.assert_array_equal(alone.waveform, kept[0].waveform)
    score = ranker.score(alone.waveform, alone.sampling_rate, "rain")
    assert score == pytest.approx(max(facts["scores"]), abs=1e-4)


def test_all_channels_are_heard(model: TextAudioModel) -> None:
    both = 0.1 * np.random.default_rng(0).standard_normal((2, RATE)).astype(np.float32)
    both[1] = 0.3 * np.sin(np.arange(RATE) / 9.0)
    ranker = Ranker(model)
    scores = [ranker.score(sound, RATE, "rain") for sound in (both, both.mean(0), both[0])]
    assert scores[0] == pytest.approx(scores[1], abs=1e-6)
    assert scores[0] != pytest.approx(scores[2], abs=1e-3)


def test_wrong_numbers_and_long_prompts_are_refused_before_any_work(
    pipeline: TextToAudio, model: TextAudioModel
) -> None:
    generator = Generator(pipeline)
    for number in (0, 17, True, 2.0):
        with pytest.raises(InputError, match="allowed: 1 to 16"):
            best_takes(generator, [Request("rain")], number, Ranker(model))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="tokens"):
        best_takes(generator, [Request("rain " * 150)], 2, Ranker(model))


def test_the_command_keeps_the_best_and_from_repeats_it(
    untrained_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = ["--model", str(untrained_folder)]
    out = ["-o", str(tmp_path / "a.wav"), "--seed", "5", "--duration", "0.6", "--best-of", "3"]
    assert main(["generate", "rain", *out, *own]) == 0
    assert "of 3 (scores " in capsys.readouterr().out
    metadata = read_metadata(tmp_path / "a.wav")
    assert metadata["ranking"]["best_of"] == 3
    again = ["--from", str(tmp_path / "a.wav"), "-o", str(tmp_path / "b.wav")]
    assert main(["generate", *again, *own]) == 0
    first, second = (soundfile.read(tmp_path / f"{name}.wav")[0] for name in "ab")
    np.testing.assert_array_equal(first, second)
    capsys.readouterr()
    for words in (["--shard", "1/2"], ["--from", str(tmp_path / "a.wav")]):
        prompt = [] if "--from" in words else ["rain"]
        assert main(["generate", *prompt, "--best-of", "2", *words, *own]) == 2
        assert "leave" in capsys.readouterr().err
    assert main(["generate", "rain", "--best-of", "17", *own]) == 2
    assert "allowed: 1 to 16" in capsys.readouterr().err


def test_files_are_heard_once_and_found(takes: Path, model: TextAudioModel) -> None:
    first = search(takes, "white noise", model=model)
    assert (first.sounds, first.heard) == (3, 3)
    assert first.hits[0].file.name == "noise.wav"
    assert ["broken.wav" in fault for fault in first.unreadable] == [True]
    (takes / "more" / "low.wav").rename(takes / "moved.wav")
    again = search(takes, "white noise", model=model, top=2)
    assert (again.sounds, again.heard, len(again.hits)) == (3, 0, 2)
    assert again.hits == first.hits[:2] or again.hits[0] == first.hits[0]
    like = search(takes, like=takes / "moved.wav", model=model)
    assert like.hits[0].file == takes / "moved.wav"
    assert like.hits[0].score == pytest.approx(1.0, abs=1e-5)


def test_a_changed_file_is_heard_again_and_a_damaged_index_replaced(
    takes: Path, model: TextAudioModel, tmp_path: Path
) -> None:
    index = tmp_path / "index"
    search(takes, "noise", model=model, index=index)
    assert not (takes / INDEX).exists()
    soundfile.write(takes / "noise.wav", np.zeros(4000), RATE)
    assert search(takes, "noise", model=model, index=index).heard == 1
    index.write_bytes(b"broken")
    assert search(takes, "noise", model=model, index=index).heard == 3
    other = TextAudioModel(TextAudioConfig()).eval()
    assert search(takes, "noise", model=other, index=index).heard == 3
    assert search(takes, "noise", model=model, index=index).heard == 3
    (takes / "high.flac").unlink()
    search(takes, "noise", model=model, index=index)
    assert search(takes, "noise", model=model, index=index).sounds == 2


def test_what_cannot_be_searched_is_told(
    takes: Path, model: TextAudioModel, tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match="is no folder"):
        search(tmp_path / "none", "rain", model=model)
    with pytest.raises(InputError, match="holds no sound"):
        search(empty, "rain", model=model)
    with pytest.raises(InputError, match="nothing is asked for"):
        search(takes, "  ", model=model)
    with pytest.raises(AudioFileError, match=r"can't read .*broken.wav"):
        search(takes, like=takes / "broken.wav", model=model)
    with pytest.raises(InputError, match="top is 0"):
        search(takes, "rain", top=0, model=model)


def test_the_command_prints_a_table_or_json(
    takes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["search", str(takes), "white noise", "--top", "1", "--quiet"]) == 0
    printed = capsys.readouterr()
    assert printed.out.strip().endswith("noise.wav")
    assert "left out" in printed.err
    assert main(["search", str(takes), "white noise", "--json", "--quiet"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["heard"] == 0
    assert values["hits"][0]["file"].endswith("noise.wav")
    assert main(["search", str(takes), "--quiet"]) == 2


def test_judging_needs_no_heavy_package() -> None:
    code = (
        "import sys, numpy; from soundleap.ranking import Ranker;"
        "assert 'torch' not in sys.modules;"
        "Ranker().score(numpy.ones(900, 'float32'), 8000, 'rain');"
        "heavy = ('transformers', 'scipy', 'matplotlib', 'accelerate');"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
