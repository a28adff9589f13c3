"""Two processes equal one, sharded equals whole, and a run goes on with another number of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from toy_runs import Toy, outcome
from two_processes import Job, start

from soundleap.training.distillation import DistillationStory
from soundleap.training.loop import train
from soundleap.training.teacher import TeacherStory


class Runs:
    """What two processes did, and what one does."""

    def __init__(self, toy: Toy, folder: Path):
        self.toy, self.folder = toy, folder
        self.moved = folder / "moved"
        train(self.teacher("moved", max_minutes=1e-9), progress=False)
        train(self.teacher("moved", max_minutes=1e-9), progress=False)
        jobs = {
            "teacher": Job(self.settings("teacher")),
            "moved": Job(self.settings("moved")),
            "sharded": Job(self.settings("sharded", shard="all", gradient_checkpointing=True)),
            "stopped": Job(self.settings("stopped", shard="all"), stop=(1, 3)),
            "poisoned": Job(self.settings("poisoned"), poison=1),
            "student": Job(self.student_settings("student", accumulation=2)),
            "frozen": Job(self.student_settings("frozen", shard="teacher")),
            "all": Job(self.student_settings("all", shard="all")),
        }
        told = start(list(jobs.values()), folder / "jobs")
        self.told = [dict(zip(jobs, of_one, strict=True)) for of_one in told]

    def settings(self, name: str, **changes: Any) -> Any:
        return self.toy.teacher_settings(self.folder / name, **changes)

    def student_settings(self, name: str, **changes: Any) -> Any:
        return self.toy.distillation_settings(self.folder / name, **changes)

    def teacher(self, name: str, **changes: Any) -> TeacherStory:
        return TeacherStory(self.settings(name, **changes), progress=False)


@pytest.fixture(scope="module")
def runs(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs(toy, tmp_path_factory.mktemp("two"))


@pytest.fixture(scope="module")
def one(runs: Runs) -> Path:
    return train(runs.teacher("one"), progress=False).folder


@pytest.fixture(scope="module")
def one_student(runs: Runs) -> Path:
    story = DistillationStory(runs.student_settings("one-student"), progress=False)
    return train(story, progress=False).folder


def assert_equal(ours: Path, other: Path) -> None:
    (a, stats_a, _), (b, stats_b, _) = outcome(ours), outcome(other)
    torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)
    assert [line.keys() for line in stats_a] == [line.keys() for line in stats_b]
    for line_a, line_b in zip(stats_a, stats_b, strict=True):
        assert line_a == pytest.approx(line_b, rel=1e-5, abs=1e-6)
    (file_a,), (file_b,) = ours.glob("*.safetensors"), other.glob("*.safetensors")
    torch.testing.assert_close(load_file(file_a), load_file(file_b), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["teacher", "sharded", "moved"])
def test_two_processes_equal_one(runs: Runs, one: Path, name: str) -> None:
    assert_equal(runs.folder / name, one)


@pytest.mark.parametrize("name", ["student", "frozen", "all"])
def test_two_processes_distil_what_one_does(runs: Runs, one_student: Path, name: str) -> None:
    assert_equal(runs.folder / name, one_student)


def test_what_is_sharded_is_in_shards_of_half_the_elements(runs: Runs) -> None:
    for name in ("sharded", "all"):
        a, b = (told[name] for told in runs.told)
        assert a["cut"] == a["tensors"] > 0
        assert a["here"] + b["here"] == a["numbers"]
        assert a["here"] == pytest.approx(a["numbers"] / 2, rel=0.01)
    for told in runs.told:
        assert (told["teacher"]["cut"], told["frozen"]["cut"]) == (0, 0)
        assert (told["frozen"]["teacher_cut"], told["all"]["teacher_cut"]) == (True, True)
        assert not told["student"]["teacher_cut"]


def test_a_signal_to_one_stops_all_and_one_goes_on(runs: Runs, one: Path) -> None:
    for told in runs.told:
        assert told["stopped"]["iteration"] == 4
        assert (told["stopped"]["finished"], told["stopped"]["interrupted"]) == (False, True)
    assert train(runs.teacher("stopped"), progress=False).finished
    assert_equal(runs.folder / "stopped", one)


def test_a_part_that_is_not_finite_skips_the_step_for_all(runs: Runs) -> None:
    assert all(told["poisoned"]["finished"] for told in runs.told)
    state, stats, _ = outcome(runs.folder / "poisoned")
    assert [line["skipped"] for line in stats] == [0, 1, 2, 2]
    assert state["optimizers"]["network"]["state"][0]["step"] == 6
    assert state["skips"] == (2, 0, 4)


def test_only_the_first_writes(runs: Runs, one: Path) -> None:
    names = {path.name for path in one.iterdir()}
    assert {path.name for path in (runs.folder / "sharded").iterdir()} == names
    assert len(outcome(runs.folder / "teacher")[1]) == 4
