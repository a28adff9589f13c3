"""Steps whose loss or gradient is not finite: skipped, counted, and too many stop the run."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from toy_runs import Toy, assert_same_run, outcome

from soundleap.errors import NotFiniteError
from soundleap.training.distillation import DistillationStory
from soundleap.training.loop import generator_for, train
from soundleap.training.optimise import adamw, descend, descend_in_parts
from soundleap.training.processes import make_accelerator
from soundleap.training.settings import RunSettings
from soundleap.training.skips import Skips
from soundleap.training.teacher import TeacherStory
from soundleap.training.vae import VAESettings, VAEStory
from soundleap.training.vocoder import VocoderStory


class Poisoned(DistillationStory):
    """Iterations from `first` up to `stop` are not finite."""

    first, stop = 2, 4

    def step(self, iteration: int, generator: torch.Generator) -> dict[str, Tensor]:
        self.now = iteration
        return super().step(iteration, generator)

    def losses(self, *args: Any, **options: Any) -> dict[str, Tensor]:
        values = super().losses(*args, **options)
        bad = self.first <= self.now < self.stop
        return {**values, "loss": values["loss"] * (math.nan if bad else 1.0)}


def make(toy: Toy, folder: Path, kind: type[DistillationStory] = Poisoned, **changes: Any) -> Any:
    return kind(toy.distillation_settings(folder, log_iterations=1, **changes), progress=False)


def state_of(story: Any) -> Any:
    modules = {name: module.state_dict() for name, module in story.modules.items()}
    optimizers = {name: part.state_dict() for name, part in story.optimizers.items()}
    return copy.deepcopy((modules, optimizers))


def test_a_step_that_is_not_finite_changes_nothing(toy: Toy, tmp_path: Path) -> None:
    story = make(toy, tmp_path)
    for n in (0, 1):
        story.step(n, generator_for(0, n))
    before = state_of(story)
    assert float(story.step(2, generator_for(0, 2))["skipped"]) == 1
    torch.testing.assert_close(state_of(story), before, rtol=0, atol=0)
    assert float(story.step(4, generator_for(0, 4))["skipped"]) == 0
    with pytest.raises(AssertionError):
        torch.testing.assert_close(state_of(story), before, rtol=0, atol=0)


@pytest.mark.parametrize("whole", [False, True])
def test_a_gradient_that_is_not_finite_under_a_loss_that_is(whole: bool) -> None:
    settings = RunSettings(run_dir="x", mixed_precision="no")
    accelerator, module = make_accelerator(settings), nn.Linear(1, 1)
    optimizer = adamw(module, settings)
    before = copy.deepcopy(module.state_dict())
    module.weight.register_hook(lambda gradient: gradient * math.inf)

    def loss() -> Tensor:
        return module(torch.ones(4, 1)).square().flatten()

    step = (
        descend(accelerator, module, optimizer, loss().mean(), 1.0)
        if whole
        else descend_in_parts(
            accelerator,
            module,
            optimizer,
            lambda items: {"loss": loss()[items]},
            count=4,
            gradient_clip=1.0,
        )
    )
    assert math.isfinite(float(step.means["loss"]))
    assert float(step.applied) == 0
    torch.testing.assert_close(module.state_dict(), before, rtol=0, atol=0)


def test_skipped_steps_are_counted_and_the_run_goes_on(toy: Toy, tmp_path: Path) -> None:
    assert train(make(toy, tmp_path / "straight"), progress=False).finished
    _, stats, _ = outcome(tmp_path / "straight")
    assert [line["skipped"] for line in stats] == [0, 0, 1, 2, 2, 2]
    assert ["loss" in line for line in stats] == [True, True, False, False, True, True]
    for _ in range(3):  # checkpoints amid the skipped ones
        train(make(toy, tmp_path / "pieces", max_minutes=1e-9), progress=False)
    train(make(toy, tmp_path / "pieces"), progress=False)
    assert_same_run(tmp_path / "straight", tmp_path / "pieces")


@pytest.mark.parametrize("pieces", [0, 3])
def test_too_many_in_a_row_stop_with_the_batch(toy: Toy, tmp_path: Path, pieces: int) -> None:
    class Broken(Poisoned):
        stop = 100

    for _ in range(pieces):
        train(make(toy, tmp_path, Broken, max_skipped=3, max_minutes=1e-9), progress=False)
    with pytest.raises(NotFiniteError, match=r"in 3 steps .* up to iteration 4; .*\.safetensors"):
        train(make(toy, tmp_path, Broken, max_skipped=3), progress=False)
    batch = make(toy, tmp_path).batches(4, generator_for(0, 4))
    found = load_file(tmp_path / "not-finite-000000004.safetensors")
    torch.testing.assert_close(found["x_0"], batch.x_0)
    torch.testing.assert_close(found["text.embeds"], batch.text.embeds)
    assert {"mask", "draws.interval", "draws.w", "draws.eps"} < found.keys()
    facts = json.loads((tmp_path / "not-finite-000000004.json").read_text())
    assert facts == {"iteration": 4, "indices": batch.indices, "captions": batch.words}
    good = make(toy, tmp_path, DistillationStory, max_skipped=3)  # the cause is gone
    assert train(good, progress=False).finished


def test_rows_are_counted_apart() -> None:
    skips = Skips(3)
    pattern = [1, 1, 0, 1, 1, 0, 0, 1]
    for iteration, skipped in enumerate(pattern):
        skips.add(torch.tensor(float(skipped)), iteration)
        assert skips.too_many() is None
    assert skips.state() == (5, 1, 7)
    for iteration in (8, 9):
        skips.add(torch.tensor(1.0), iteration)
    skips.add(torch.tensor(0.0), 10)  # read later than it happened, as with an accelerator
    assert skips.too_many() == 9


def vae(toy: Toy, folder: Path) -> VAEStory:
    settings = VAESettings(
        run_dir=str(folder), manifests=(toy.manifest,), channels=4, width=8, crop_frames=16,
        batch_size=2, mixed_precision="no",
    )  # fmt: skip
    return VAEStory(settings, progress=False)


def vocoder(toy: Toy, folder: Path) -> VocoderStory:
    return VocoderStory(toy.vocoder_settings(folder), progress=False)


@pytest.mark.parametrize("make_story", [vae, vocoder])
def test_a_step_on_sounds_that_is_not_finite_changes_nothing(
    toy: Toy, tmp_path: Path, make_story: Callable[[Toy, Path], Any]
) -> None:
    story = make_story(toy, tmp_path)
    story.step(0, generator_for(0, 0))
    assert float(story.step(1, generator_for(0, 1))["skipped"]) == 0
    before = state_of(story)
    crops: Callable[..., Tensor] = story.pool.crops
    story.pool.crops = lambda *args: crops(*args) * math.nan  # type: ignore[method-assign]
    assert float(story.step(2, generator_for(0, 2))["skipped"]) == 1
    torch.testing.assert_close(state_of(story), before, rtol=0, atol=0)


def test_a_step_whose_judge_stays_is_counted(toy: Toy, tmp_path: Path) -> None:
    story = vocoder(toy, tmp_path)
    story.step(0, generator_for(0, 0))
    weight = next(story.judge.parameters())
    weight.register_hook(lambda gradient: gradient * math.inf)
    kept, moved = copy.deepcopy((story.judge.state_dict(), story.vocoder.state_dict()))
    assert float(story.step(1, generator_for(0, 1))["skipped"]) == 1
    torch.testing.assert_close(story.judge.state_dict(), kept, rtol=0, atol=0)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(story.vocoder.state_dict(), moved, rtol=0, atol=0)


def test_a_teacher_step_that_is_not_finite_changes_nothing(toy: Toy, tmp_path: Path) -> None:
    story = TeacherStory(toy.teacher_settings(tmp_path), progress=False)
    story.step(0, generator_for(0, 0))
    before = state_of(story)
    story.network.register_forward_hook(lambda *args: args[2] * math.nan)
    assert float(story.step(1, generator_for(0, 1))["skipped"]) == 1
    torch.testing.assert_close(state_of(story), before, rtol=0, atol=0)
