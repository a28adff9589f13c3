"""Students of which low-rank layers alone are trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from toy_runs import Toy, assert_same_run

from soundleap.errors import InputError
from soundleap.models.dit import DiT
from soundleap.models.lora import apply_adapters, read_adapter
from soundleap.models.registry import load_network
from soundleap.training.checkpoint import load_latest
from soundleap.training.distillation import DistillationStory
from soundleap.training.loop import generator_for, train

pytest.importorskip("peft")


def lora_story(toy: Toy, folder: Path, **changes: Any) -> DistillationStory:
    values = {"lora_rank": 2, "learning_rate": 1e-2, "iterations": 3, **changes}
    return DistillationStory(toy.distillation_settings(folder, **values), progress=False)


def test_only_low_rank_layers_are_trained_and_the_rest_is_shared(toy: Toy, tmp_path: Path) -> None:
    story = lora_story(toy, tmp_path / "run")
    assert story.target is not None
    trained = {name for name, p in story.student.named_parameters() if p.requires_grad}
    assert trained
    assert all(".lora_" in name for name in trained)
    assert any(name.startswith("guidance.") for name in trained)
    before = {name: p.detach().clone() for name, p in story.student.named_parameters()}
    target = {n: p.clone() for n, p in story.target.named_parameters() if n in trained}
    story.step(0, generator_for(0, 0))
    after = dict(story.student.named_parameters())
    for name, old in before.items():
        changed = not torch.equal(after[name], old)
        assert changed == (name in trained)
    for copied in (story.average, story.target):
        for name, parameter in copied.named_parameters():
            assert (parameter is after[name]) == (name not in trained)
    decay = story.settings.target_ema
    for name, parameter in story.target.named_parameters():
        if name in trained:
            expected = decay * target[name] + (1 - decay) * after[name].detach()
            torch.testing.assert_close(parameter, expected)


def test_both_the_whole_student_and_the_adapter_are_written(toy: Toy, tmp_path: Path) -> None:
    story = lora_story(toy, tmp_path / "run")
    train(story, progress=False)
    whole = load_network(tmp_path / "run" / "student.safetensors")
    assert isinstance(whole, DiT)
    assert whole.config == story.config
    batch = story.batches(2, generator_for(0, 2))
    positive, _ = story.conditions(batch)
    count = len(batch)
    asked = (batch.x_0, torch.full((count,), 500.0))
    told = {**positive, "w": torch.full((count,), 3.0)}
    expected = story.average(*asked, **told)
    torch.testing.assert_close(whole(*asked, **told), expected, rtol=1e-4, atol=1e-5)
    first = lora_story(toy, tmp_path / "other", lora_rank=0).student
    assert not torch.allclose(first(*asked, **told), expected, rtol=1e-3, atol=1e-4)
    adapter = read_adapter(tmp_path / "run" / "adapter.safetensors")
    assert (adapter.info.network, adapter.info.rank, adapter.info.base) == ("dit", 2, None)
    changed = apply_adapters(first, [(adapter, 1.0)])
    torch.testing.assert_close(changed(*asked, **told), expected, rtol=1e-4, atol=1e-5)


def test_a_resumed_run_equals_a_straight_one_from_small_checkpoints(
    toy: Toy, tmp_path: Path
) -> None:
    train(lora_story(toy, tmp_path / "straight"), progress=False)
    train(lora_story(toy, tmp_path / "stopped", max_minutes=1e-9), progress=False)
    train(lora_story(toy, tmp_path / "stopped"), progress=False)
    assert_same_run(tmp_path / "straight", tmp_path / "stopped")
    state = load_latest(tmp_path / "straight")
    assert state is not None
    assert sorted(state["modules"]) == ["average", "student", "target"]
    assert all("lora_" in name for part in state["modules"].values() for name in part)


def test_a_student_to_go_on_from_and_layers_of_ones_own(toy: Toy, tmp_path: Path) -> None:
    first = lora_story(toy, tmp_path / "near", lora_rank=0, iterations=1)
    train(first, progress=False)
    second = lora_story(
        toy, tmp_path / "far", start=str(tmp_path / "near" / "student.safetensors"),
        lora_targets=("outward", "blocks.0.*"), lora_alpha=4.0,
    )  # fmt: skip

    def layers(story: DistillationStory) -> set[str]:
        pairs = story.student.named_parameters()
        return {name.split(".lora_")[0] for name, p in pairs if p.requires_grad}

    names = layers(second)
    assert "outward" in names
    assert all(name == "outward" or name.startswith("blocks.0.") for name in names)
    anew = layers(lora_story(toy, tmp_path / "anew", lora_targets=("outward",)))
    assert all(name.startswith("guidance") for name in anew - {"outward"})
    assert len(anew) > 1  # a guidance input that the teacher lacks is always trained
    with pytest.raises(InputError, match="targets nothing"):
        lora_story(toy, tmp_path / "none", lora_targets=("nothing",))


def test_settings_that_contradict_are_told_at_once(toy: Toy, tmp_path: Path) -> None:
    settings = toy.distillation_settings(tmp_path / "run")
    with pytest.raises(ValidationError) as caught:
        replace(settings, lora_alpha=-1.0, lora_targets=("outward",), solver_error_iterations=-1)
    for part in (
        "lora_alpha is -1; it must be above 0",
        "lora_rank is 0, which has no use for lora_alpha and lora_targets",
        "solver_error_iterations is -1; allowed: from 0",
    ):
        assert part in str(caught.value)
    with pytest.raises(ValidationError, match="set shard=teacher"):
        replace(settings, lora_rank=4, shard="all")
