"""The trainer with axes other than the default: sounds compared, captions alone, what it tells."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from toy_runs import Toy, assert_same_run

from soundleap.errors import InputError
from soundleap.models.registry import load_network
from soundleap.training.batches import Batches
from soundleap.training.distillation import DistillationSettings, DistillationStory
from soundleap.training.loop import generator_for, train
from soundleap.training.objectives import ConsistencyObjective
from soundleap.training.settings import load_settings
from soundleap.untrained.write import write_untrained_family


def run(toy: Toy, folder: Path, **changes: Any) -> DistillationStory:
    story = DistillationStory(toy.distillation_settings(folder, **changes), progress=False)
    train(story, progress=False)
    return story


def lines(folder: Path) -> list[dict[str, float]]:
    text = (folder / "stats.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def alone(toy: Toy, tmp_path: Path) -> dict[str, Any]:
    """Settings of a run from captions alone."""
    path = tmp_path / "captions.txt"
    path.write_text("a high tone\nnoise\na low tone\n", encoding="utf-8")
    return {
        "cache": None, "data": "captions", "captions": str(path), "top_rule": "unit_noise",
        "duration_range_in_s": (0.5, 1.5),
    }  # fmt: skip


@pytest.mark.parametrize("distance", ["mel", "stft"])
def test_sounds_are_compared(toy: Toy, tmp_path: Path, distance: str) -> None:
    settings = toy.distillation_settings(
        tmp_path / "run", distance=distance, sound_share=1.0, accumulation=2, batch_size=200
    )
    story = DistillationStory(settings, progress=False)
    batch = story.batches(0, generator_for(0, 0))
    draws = story.objective.draw(batch.x_0, generator_for(1, 0))
    assert batch.mask is not None
    assert not batch.mask.all()
    whole = story.losses(batch, draws)["loss"]
    for i in range(len(batch)):
        one = slice(i, i + 1)
        part = story.losses(batch.part(one), draws.part(one))["loss"]
        torch.testing.assert_close(part, whole[one], rtol=1e-3, atol=1e-6)
    told = story.step(0, generator_for(0, 0))
    assert float(told["gradient"]) > 0
    assert float(told["skipped"]) == 0


def test_captions_alone(toy: Toy, tmp_path: Path, alone: dict[str, Any]) -> None:
    story = run(toy, tmp_path / "straight", iterations=4, **alone)
    assert {line["skipped"] for line in lines(tmp_path / "straight")} == {0}
    batch = story.batches(4, generator_for(0, 4))
    assert set(batch.words) <= {"a high tone", "noise", "a low tone", ""}
    rate = 16000 / (256 * 8)
    assert 0.5 * rate <= float(story.batches.cache.lengths.min())
    assert float(story.batches.cache.lengths.max()) <= 1.5 * rate + 1
    run(toy, tmp_path / "stopped", iterations=4, max_minutes=1e-9, **alone)
    run(toy, tmp_path / "stopped", iterations=4, **alone)
    assert_same_run(tmp_path / "straight", tmp_path / "stopped")


def test_what_contradicts_captions_alone(toy: Toy, tmp_path: Path, alone: dict[str, Any]) -> None:
    settings = toy.distillation_settings(tmp_path / "run", **alone)
    with pytest.raises(ValidationError) as caught:
        replace(
            settings, cache=toy.cache, captions=None, bottom_rule="data", top_rule="data",
            duration_range_in_s=(3.0, 1.0), rewards=({"name": "ours", "term": "both"},),
        )  # fmt: skip
    for part in (
        "captions is missing: data is captions; give captions= a file of captions",
        "data is captions, which has no use for cache",
        "duration_range_in_s is 3 to 1",
        "there is no true x_0",
        "the noisiest point holds no data",
        "reward ours has term=both, which compares with recordings",
    ):
        assert part in str(caught.value)
    with pytest.raises(ValidationError, match=r"has no use for captions.*duration_range_in_s"):
        replace(settings, data="latents", cache=toy.cache)
    with pytest.raises(ValidationError, match="cache is missing: data is latents"):
        replace(settings, data="latents", captions=None, duration_range_in_s=None)
    with pytest.raises(InputError, match="set duration_range_in_s"):
        DistillationStory(replace(settings, duration_range_in_s=None), progress=False)


def test_what_a_run_tells_of_the_teacher(toy: Toy, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    story = run(toy, folder, iterations=8, solver_error_iterations=3)
    found = lines(folder)
    queries = 2 * story.settings.solver_steps
    assert [line["teacher_queries"] for line in found] == [queries] * 4
    again = Batches(story.batches.cache, tokens=60, seed=0, drop_text=0.0)
    clips = [len(again(n, generator_for(0, n))) for n in range(8)]
    sums = [queries * sum(clips[:n]) for n in (2, 4, 6, 8)]
    assert [line["teacher_queries_total"] for line in found] == sums
    # estimates after 3 and 6 iterations are told in the next lines, of every second iteration
    assert [line["iteration"] for line in found if "solver_error" in line] == [4, 6]
    assert all(0 < line["solver_error"] < 1 for line in found if "solver_error" in line)


def test_estimates_change_nothing_of_what_is_learnt(toy: Toy, tmp_path: Path) -> None:
    weights = [
        (tmp_path / name / "student.safetensors").read_bytes()
        for name, every in (("with", 2), ("without", 0))
        if run(toy, tmp_path / name, iterations=4, solver_error_iterations=every)
    ]
    assert weights[0] == weights[1]


def test_an_infinite_gamma_from_yaml_and_from_the_command_line(toy: Toy, tmp_path: Path) -> None:
    preset = tmp_path / "preset.yaml"
    preset.write_text(
        f"stage: distillation\nrun_dir: {tmp_path}/run\ncache: {toy.cache}\n"
        f"teacher: {toy.teacher}\ncodec: {toy.codec}\nweighting: min_snr_v\nprediction: v\n"
        "weighting_gamma: .inf\nmixed_precision: 'no'\niterations: 2\nbatch_size: 60\n"
        "preview_prompts: []\n",
        encoding="utf-8",
    )
    settings = load_settings(DistillationSettings, str(preset))
    given = ["weighting_gamma=5"], ["weighting_gamma=.inf"]
    assert load_settings(DistillationSettings, str(preset), given[0]) != settings
    assert load_settings(DistillationSettings, str(preset), given[1]) == settings
    for _ in range(2):  # the second time it finds its own settings in the folder
        story = DistillationStory(settings, progress=False)
        train(story, progress=False)
    assert isinstance(story.objective, ConsistencyObjective)
    t = torch.tensor([100.0, 900.0])
    expected = story.schedule.alpha(t) ** 2
    torch.testing.assert_close(story.objective.weight(t), expected)


@pytest.mark.slow
@pytest.mark.parametrize(("family", "prediction"), [("tango", "v"), ("make-an-audio-2", "eps")])
def test_axes_of_every_latent_and_network(tmp_path: Path, family: str, prediction: Any) -> None:
    """A U-Net on 2-D latents, a transformer on 1-D: captions alone, low-rank layers, mels."""
    write_untrained_family(tmp_path / "model", family)
    (tmp_path / "captions.txt").write_text("rain\nwind\n", encoding="utf-8")
    settings = DistillationSettings(
        run_dir=str(tmp_path / "run"), teacher=str(tmp_path / "model"), prediction=prediction,
        data="captions", captions=str(tmp_path / "captions.txt"), top_rule="unit_noise",
        duration_range_in_s=None if family == "tango" else (0.5, 1.0), distance="mel",
        lora_rank=2, solver="heun", solver_steps=2, solver_error_iterations=1, batch_size=160,
        iterations=2, log_iterations=1, mixed_precision="no", preview_prompts=(),
    )  # fmt: skip
    train(DistillationStory(settings, progress=False), progress=False)
    last = lines(tmp_path / "run")[-1]
    assert last["teacher_queries"] == 8
    assert last["skipped"] == 0
    assert last["solver_error"] > 0
    network = load_network(tmp_path / "run" / "student.safetensors")
    assert network.config.guided
    assert (tmp_path / "run" / "adapter.safetensors").is_file()
