"""What fits large batches and networks changes nothing that is learnt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from toy_runs import Toy, assert_same_run, outcome

from soundleap.errors import InputError
from soundleap.training.distillation import DistillationStory
from soundleap.training.ema import make_ema, update_ema
from soundleap.training.loop import generator_for, train
from soundleap.training.processes import make_accelerator, shares
from soundleap.training.sharding import blocks_of
from soundleap.training.teacher import TeacherStory
from soundleap.training.vocoder import VocoderStory


def run(toy: Toy, folder: Path, **changes: Any) -> Path:
    settings = toy.distillation_settings(folder, **changes)
    return train(DistillationStory(settings, progress=False), progress=False).folder


@pytest.fixture(scope="module")
def plain(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(toy, tmp_path_factory.mktemp("plain") / "run")


@pytest.mark.parametrize("accumulation", [2, 100])
def test_accumulation_equals_none(toy: Toy, tmp_path: Path, plain: Path, accumulation: int) -> None:
    folder = run(toy, tmp_path / "parts", accumulation=accumulation)
    (a, stats_a, _), (b, stats_b, _) = outcome(folder), outcome(plain)
    torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)
    for line_a, line_b in zip(stats_a, stats_b, strict=True):
        assert line_a == pytest.approx(line_b, rel=1e-5)


def test_gradient_checkpointing_changes_no_bit(toy: Toy, tmp_path: Path, plain: Path) -> None:
    assert_same_run(run(toy, tmp_path / "again", gradient_checkpointing=True), plain)


def test_gradient_checkpointing_computes_blocks_again(toy: Toy, tmp_path: Path) -> None:
    calls: list[bool] = []
    for on in (False, True):
        settings = toy.teacher_settings(tmp_path, gradient_checkpointing=on)
        story = TeacherStory(settings, progress=False)
        calls.clear()
        (block,) = blocks_of(story.network)
        block.register_forward_pre_hook(lambda *_: calls.append(True))
        story.step(0, generator_for(0, 0))
        assert len(calls) == 1 + on


def test_clips_are_counted_and_a_batch_of_a_resumed_run_is_the_next(
    toy: Toy, tmp_path: Path, plain: Path
) -> None:
    state, stats, _ = outcome(plain)
    settings = toy.distillation_settings(tmp_path)
    batches = DistillationStory(settings, progress=False).batches
    counts = [len(batches(i, generator_for(0, i))) for i in range(6)]
    assert [line["clips_seen"] for line in stats] == [sum(counts[:n]) for n in (2, 4, 6)]
    assert state["clips_seen"] == sum(counts) == batches.clips_before(6)


class Rank:
    """What `shares` asks of an accelerator."""

    def __init__(self, process_index: int, num_processes: int):
        self.process_index, self.num_processes = process_index, num_processes


@pytest.mark.parametrize("count", [1, 2, 3, 7, 40])
@pytest.mark.parametrize("processes", [1, 2, 5])
@pytest.mark.parametrize("accumulation", [1, 3])
def test_every_item_counts_once(count: int, processes: int, accumulation: int) -> None:
    all_parts: list[list[tuple[slice, int]]] = []
    for rank in range(processes):
        accelerator: Any = Rank(rank, processes)
        all_parts.append(list(shares(accelerator, count, accumulation)))
    assert len({len(parts) for parts in all_parts}) == 1
    assert len(all_parts[0]) <= accumulation
    counted = [part for parts in all_parts for part, number in parts if number]
    items = [i for part in counted for i in range(count)[part]]
    assert items == list(range(count))
    assert all(len(range(count)[part]) > 0 for parts in all_parts for part, _ in parts)
    assert sum(number for parts in all_parts for _, number in parts) == count


@pytest.mark.parametrize("applied", [0.0, 1.0])
def test_an_average_moves_as_the_device_says(applied: float) -> None:
    """The way of accelerators, on a device whose values can't be read at once."""
    from soundleap.training.ema import _lerp

    module = nn.Linear(3, 3)
    average, expected = make_ema(module), make_ema(module)
    with torch.no_grad():
        module.weight += 1.0
    if applied:
        update_ema(expected, module, 0.9)
    kept = [p.data for p in average.parameters()]
    _lerp(kept, [p.detach() for p in module.parameters()], 0.1, torch.tensor(applied))
    for ours, theirs in zip(average.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)
    update_ema(average, module, 0.0, torch.tensor(0.0))
    torch.testing.assert_close(average.bias, expected.bias)


def test_a_stage_that_can_not_be_shared_says_so(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = toy.vocoder_settings(tmp_path)
    accelerator = make_accelerator(settings)
    monkeypatch.setattr(type(accelerator), "num_processes", 2)
    with pytest.raises(InputError, match="2 processes, but this stage runs as one"):
        VocoderStory(settings, progress=False)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"shard": "teacher"}, "no frozen teacher takes part; allowed: none, all"),
        ({"accumulation": 0}, "accumulation is 0; it must be above 0"),
        ({"keep_checkpoints": 0}, "keep_checkpoints is 0; it must be above 0"),
        ({"max_skipped": 0}, "max_skipped is 0; it must be above 0"),
    ],
)
def test_settings_of_scale_that_mean_nothing(
    toy: Toy, tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        toy.teacher_settings(tmp_path, **changes)


def test_runs_of_different_precision_in_one_process(toy: Toy, tmp_path: Path) -> None:
    for precision in ("no", "bf16", "no"):
        settings = toy.teacher_settings(tmp_path / precision, mixed_precision=precision)
        assert TeacherStory(settings).accelerator.mixed_precision == precision
