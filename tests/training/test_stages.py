"""Teacher and vocoder under the loop: resumed they equal straight ones, and give averages."""

from __future__ import annotations

import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from toy_runs import Toy, assert_same_run

from soundleap.errors import InputError
from soundleap.training.loop import train
from soundleap.training.teacher import TeacherStory
from soundleap.training.vocoder import VocoderStory


class StoppedTeacher(TeacherStory):
    def step(self, iteration: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
        if iteration == 3:
            signal.raise_signal(signal.SIGTERM)
        return super().step(iteration, generator)


class StoppedVocoder(VocoderStory):
    def step(self, iteration: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
        if iteration == 1:
            signal.raise_signal(signal.SIGTERM)
        return super().step(iteration, generator)


def test_a_resumed_teacher_equals_a_straight_one(toy: Toy, tmp_path: Path) -> None:
    settings = toy.teacher_settings(tmp_path / "straight", preview_prompts=("rain",))
    train(TeacherStory(settings, progress=False), progress=False)
    settings = replace(settings, run_dir=str(tmp_path / "stopped"))
    assert train(StoppedTeacher(settings, progress=False), progress=False).iteration == 4
    train(TeacherStory(settings, progress=False), progress=False)
    assert_same_run(tmp_path / "straight", tmp_path / "stopped")
    names = {path.name for path in (tmp_path / "straight" / "snapshot-000008").iterdir()}
    assert names == {"0-rain.wav", "0-rain.png"}


def test_a_resumed_vocoder_equals_a_straight_one(toy: Toy, tmp_path: Path) -> None:
    settings = toy.vocoder_settings(tmp_path / "straight")
    train(VocoderStory(settings, progress=False), progress=False)
    settings = replace(settings, run_dir=str(tmp_path / "stopped"))
    assert train(StoppedVocoder(settings, progress=False), progress=False).iteration == 2
    train(VocoderStory(settings, progress=False), progress=False)
    assert_same_run(tmp_path / "straight", tmp_path / "stopped")


def test_a_teacher_is_measured_and_written_as_its_average(toy: Toy, tmp_path: Path) -> None:
    story = TeacherStory(toy.teacher_settings(tmp_path), progress=False)
    measured = story.heldout_loss()
    with torch.no_grad():
        for parameter in story.network.parameters():
            parameter += 1.0
    assert story.heldout_loss() == measured
    story.snapshot(7, tmp_path)
    assert (tmp_path / "heldout.tsv").read_text() == f"7\t{measured:.5f}\n"
    story.export(tmp_path)
    written = load_file(tmp_path / "teacher.safetensors")
    torch.testing.assert_close(written, story.average.state_dict(), rtol=0, atol=0)
    with torch.no_grad():
        for parameter in story.average.parameters():
            parameter += 1.0
    assert story.heldout_loss() != pytest.approx(measured)


@pytest.mark.parametrize("name", ["cache", "heldout_cache"])
def test_latents_that_are_not_of_one_kind(toy: Toy, tmp_path: Path, name: str) -> None:
    path = tmp_path / "high" / "latents-00000.safetensors"
    shutil.copytree(getattr(toy, name), path.parent)
    with safe_open(path, framework="pt") as file:
        about = file.metadata()
    tensors = load_file(path)
    save_file({**tensors, "latents": tensors["latents"].unflatten(1, (8, 2))}, path, about)
    settings = toy.teacher_settings(tmp_path / "run", **{name: str(path.parent)})
    with pytest.raises(InputError, match=r"of shapes .*\(8, 2\).*needed: \(C,\) in both"):
        TeacherStory(settings, progress=False)
