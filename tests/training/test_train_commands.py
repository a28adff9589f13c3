"""The whole road on the command line at toy size, from clips to a model folder that speaks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from toy_runs import COMMON, write_corpus

from soundleap import TextToAudio
from soundleap.cli.main import main
from soundleap.cli.train import UNFINISHED
from soundleap.diffusion.schedules import NoiseSchedule, uniform_grid
from soundleap.training.memory import KEEP, MALLOC, keep_freed_memory, wanted_environment

ALL_CLIPS = ["split=heldout", "variants={'*': 1}", "mixtures=0"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run every stage's tiny preset."""
    folder = tmp_path_factory.mktemp("road")
    manifest = write_corpus(folder / "corpus")
    runs, quick = folder / "runs", [f"{k}={v}" for k, v in COMMON.items() if k != "threads"]
    clips = [f"manifests=[{manifest}]"]
    codec = f"codec={runs}/codec/codec.safetensors"
    vocoder = f"vocoder={runs}/vocoder/vocoder.safetensors"

    def run(*words: str) -> int:
        return main([*words, "--quiet"])

    def place(name: str) -> str:
        return f"run_dir={runs}/{name}"

    cache, heldout = f"cache={runs}/cache", f"heldout_cache={runs}/cache-heldout"
    assert run("train", "codec", "tiny-codec", place("codec"), *clips) == 0
    assert run("data", "cache", "tiny-cache", place("cache"), *clips, codec) == 0
    assert (
        run("data", "cache", "tiny-cache", place("cache-heldout"), *clips, codec, *ALL_CLIPS) == 0
    )
    assert run("train", "vocoder", "tiny-vocoder", place("vocoder"), *clips, codec, *quick) == 0
    teacher = ["train", "teacher", "tiny-teacher", place("teacher"), cache, heldout, codec, vocoder,
               "preview_prompts=[]"]  # fmt: skip
    assert run(*teacher, *quick, "max_minutes=1e-9") == UNFINISHED
    assert run(*teacher, *quick) == 0
    student = [place("student"), cache, codec, vocoder, *quick]
    source = f"teacher={runs}/teacher/teacher.safetensors"
    assert (
        run("distill", "tiny-distill", *student, source, "grid_points=25", "preview_prompts=[]")
        == 0
    )
    return runs


def test_every_run_says_what_it_is(runs: Path) -> None:
    for name in ("codec", "cache", "cache-heldout", "vocoder", "teacher", "student"):
        assert (runs / name / "settings.yaml").exists(), name
    for name in ("vocoder", "teacher", "student"):
        assert (runs / name / "losses.png").exists(), name
        assert (runs / name / f"{name}.safetensors").exists()


def test_a_bundle_speaks(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    card = tmp_path / "card.md"
    card.write_text("# Toy\n")
    words = ["--runs", str(runs), "--name", "toy", "--card", str(card), "--quality", "fad=3.5"]
    assert main(["bundle", str(tmp_path / "made"), *words]) == 0
    assert "student, teacher" in capsys.readouterr().out
    pipe = TextToAudio.from_pretrained(tmp_path / "made", device="cpu")
    sampling = pipe.manifest.sampling
    assert list(sampling.grid) == uniform_grid(NoiseSchedule.scaled_linear(), 25).tolist()
    assert pipe.manifest.quality == {"fad": 3.5}
    assert pipe.manifest.parts.student is not None
    assert pipe.manifest.parts.student.dtype == "float16"
    assert (tmp_path / "made" / "MODEL_CARD.md").read_text() == "# Toy\n"
    audio = pipe("a tone of 200 hertz", num_inference_steps=2, duration_in_s=1.0, seed=1)
    assert audio.audios[0].shape[-1] == 16000


def test_provenance_holds_the_settings_but_no_one_s_paths(runs: Path, tmp_path: Path) -> None:
    assert main(["bundle", str(tmp_path / "made"), "--runs", str(runs), "--no-teacher"]) == 0
    text = (tmp_path / "made" / "soundleap.json").read_text()
    stages: dict[str, Any] = json.loads(text)["provenance"]["stages"]
    assert stages["student"]["grid_points"] == 25
    assert stages["student"]["teacher"] == "teacher/teacher.safetensors"
    assert stages["codec_report"]["heldout_mel_l1"] > 0
    assert str(runs.parent) not in text
    assert not (tmp_path / "made" / "teacher.safetensors").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--guidance", "9"], "default_guidance_scale is 9"),
        (["--steps", "9"], "steps is 9; allowed: 1 to 8"),
        (["--quality", "fad"], "'fad' is not of the form name=number"),
        (["--card", "nowhere.md"], "can't read the model card nowhere.md"),
        (["--runs", "nowhere"], "can't read preset nowhere"),
    ],
)
def test_what_a_bundle_refuses(
    runs: Path, tmp_path: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bundle", str(tmp_path / "made"), "--runs", str(runs), *words]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "made").exists()


def test_the_allocator_s_settings_are_asked_for_once_on_linux() -> None:
    wanted = wanted_environment({"HOME": "x"}, "linux")
    assert wanted == {"HOME": "x", **MALLOC}
    assert wanted_environment(wanted, "linux") is None
    own = {"MALLOC_TOP_PAD_": "1"}
    assert wanted_environment(own, "linux") == {**MALLOC, **own}
    assert wanted_environment({KEEP: "1"}, "linux") is None
    assert wanted_environment({}, "darwin") is None


def test_no_other_program_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in MALLOC:
        monkeypatch.delenv(name, raising=False)
    keep_freed_memory()  # would not come back
    assert torch is not None
