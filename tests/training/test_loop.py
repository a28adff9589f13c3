"""The loop: it stops at any time, loses nothing, and a resumed run equals a straight one."""

from __future__ import annotations

import json
import math
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic.dataclasses import dataclass
from safetensors.torch import load_file, save_file
from torch import nn
from toy_runs import assert_same_run, outcome

from soundleap.errors import InputError, NotFiniteError
from soundleap.training.checkpoint import list_checkpoints, load_latest
from soundleap.training.loop import RunEnd, _Run, generator_for, learning_rate, train
from soundleap.training.processes import make_accelerator
from soundleap.training.records import Stats
from soundleap.training.settings import STRICT, RunSettings
from soundleap.training.skips import Inspection


@dataclass(frozen=True, config=STRICT, kw_only=True)
class LineSettings(RunSettings):
    slope: float = 3.0


class LineStory:
    """Fit a line to points that each iteration draws anew."""

    def __init__(self, settings: LineSettings):
        self.settings = settings
        self.accelerator = make_accelerator(settings)
        torch.manual_seed(settings.seed)
        self.line = nn.Linear(1, 1)
        self.modules: dict[str, nn.Module] = {"line": self.line}
        self.optimizers: dict[str, torch.optim.Optimizer] = {
            "line": torch.optim.AdamW(self.line.parameters(), settings.learning_rate)
        }
        self.snapshots: list[int] = []
        self.at: dict[int, Any] = {}

    def step(self, iteration: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
        x = torch.randn(8, 1, generator=generator)
        loss = (self.line(x) - self.settings.slope * x).square().mean()
        self.optimizers["line"].zero_grad()
        loss.backward()
        self.optimizers["line"].step()
        self.at.get(iteration, lambda: None)()
        return {"loss": loss.detach()}

    def inspect(self, iteration: int, generator: torch.Generator) -> Inspection:
        return Inspection.of({}, x=torch.randn(8, 1, generator=generator))

    def snapshot(self, iteration: int, folder: Path) -> None:
        self.snapshots.append(iteration)

    def export(self, folder: Path) -> None:
        save_file(self.line.state_dict(), folder / "line.safetensors")


def line(folder: Path, **changes: Any) -> LineStory:
    values: dict[str, Any] = {
        "run_dir": str(folder), "iterations": 30, "log_iterations": 5, "warmup_iterations": 3,
        "learning_rate": 0.1, "mixed_precision": "no",
    }  # fmt: skip
    return LineStory(LineSettings(**{**values, **changes}))


def stop() -> None:
    signal.raise_signal(signal.SIGTERM)


@pytest.fixture
def straight(tmp_path: Path) -> Path:
    end = train(line(tmp_path / "straight"), progress=False)
    assert end == RunEnd(tmp_path / "straight", 30, finished=True, interrupted=False)
    return end.folder


def test_an_optimiser_may_learn_at_a_share_of_the_rate(tmp_path: Path) -> None:
    story = line(tmp_path, iterations=4)
    (group,) = story.optimizers["line"].param_groups
    group["lr_scale"] = 0.5
    rates: list[float] = []
    story.at = dict.fromkeys(range(4), lambda: rates.append(group["lr"]))
    train(story, progress=False)
    assert rates == [0.5 * learning_rate(story.settings, n) for n in range(4)]


def test_generators_depend_on_seed_and_iteration_alone() -> None:
    def draw(*key: int) -> float:
        return float(torch.rand((), generator=generator_for(*key)))

    assert draw(1, 2) == draw(1, 2)
    assert len({draw(s, i) for s in range(4) for i in range(8)}) == 32


@pytest.mark.parametrize("moment", [0, 4, 12, 29])
def test_a_run_stopped_by_a_signal_equals_a_straight_one(
    tmp_path: Path, straight: Path, moment: int
) -> None:
    story = line(tmp_path / "stopped")
    story.at[moment] = stop
    end = train(story, progress=False)
    assert (end.iteration, end.interrupted) == (moment + 1, True)
    assert story.snapshots == []
    again = train(line(tmp_path / "stopped"), progress=False)
    assert (again.finished, again.interrupted) == (True, False)
    assert_same_run(straight, tmp_path / "stopped")


def test_a_run_in_pieces_of_no_time_equals_a_straight_one(tmp_path: Path, straight: Path) -> None:
    ends = [
        train(line(tmp_path / "pieces", max_minutes=1e-9), progress=False).iteration
        for _ in range(4)
    ]
    assert ends == [1, 2, 3, 4]
    train(line(tmp_path / "pieces"), progress=False)
    assert_same_run(straight, tmp_path / "pieces")
    lines = (tmp_path / "pieces" / "stats.jsonl").read_text().splitlines()
    seconds = [json.loads(text)["seconds"] for text in lines]
    assert seconds == sorted(seconds)


def test_seconds_go_on_where_a_process_ended(tmp_path: Path) -> None:
    Stats(tmp_path, 0).add(5, 4.0, {})
    Stats(tmp_path, 5).add(10, 3.0, {})
    assert [line["seconds"] for line in Stats(tmp_path, 10).lines] == [4.0, 7.0]


def test_as_many_checkpoints_stay_as_the_settings_say(tmp_path: Path) -> None:
    train(line(tmp_path, checkpoint_minutes=1e-9, keep_checkpoints=3), progress=False)
    assert [path.stem[-2:] for path in list_checkpoints(tmp_path)] == ["28", "29", "30"]


def test_lines_from_after_the_checkpoint_are_dropped(tmp_path: Path, straight: Path) -> None:
    story = line(tmp_path / "killed", max_minutes=1e-9)
    train(story, progress=False)
    with (tmp_path / "killed" / "stats.jsonl").open("a") as file:
        for i in (5, 10):
            file.write(json.dumps({"iteration": i, "seconds": 1.0, "loss": 9.0}) + "\n")
        file.write('{"iteration": 15, "sec')  # killed while writing
    train(line(tmp_path / "killed"), progress=False)
    assert_same_run(straight, tmp_path / "killed")


def test_a_damaged_checkpoint_costs_only_its_own_steps(tmp_path: Path, straight: Path) -> None:
    for _ in range(2):
        train(line(tmp_path / "damaged", max_minutes=1e-9), progress=False)
    list_checkpoints(tmp_path / "damaged")[-1].write_bytes(b"half")
    train(line(tmp_path / "damaged"), progress=False)
    assert_same_run(straight, tmp_path / "damaged")


def test_a_finished_run_is_left_as_it_is_but_exported(tmp_path: Path, straight: Path) -> None:
    before = outcome(straight)
    (straight / "line.safetensors").unlink()
    story = line(straight)
    assert train(story, progress=False).finished
    torch.testing.assert_close(outcome(straight), before, rtol=0, atol=0)
    assert story.snapshots == []


def test_more_iterations_go_on_from_a_finished_run(straight: Path) -> None:
    assert train(line(straight, iterations=40), progress=False).iteration == 40


@pytest.mark.parametrize(
    "change", [{"slope": 2.0}, {"seed": 1}, {"batch_size": 4}, {"mixed_precision": "bf16"}]
)
def test_a_folder_with_other_settings_is_refused(straight: Path, change: dict[str, Any]) -> None:
    before = (straight / "settings.yaml").read_text()
    ((name, value),) = change.items()
    with pytest.raises(InputError, match=rf"other settings \({name}: .* -> {value}\)"):
        train(line(straight, **change), progress=False)
    assert (straight / "settings.yaml").read_text() == before


def test_a_moved_folder_and_a_setting_of_a_newer_version_are_fine(
    tmp_path: Path, straight: Path
) -> None:
    moved = tmp_path / "moved"
    straight.rename(moved)
    text = (moved / "settings.yaml").read_text()
    (moved / "settings.yaml").write_text(text.replace("slope: 3.0\n", ""))
    assert train(line(moved), progress=False).finished
    (moved / "settings.yaml").write_text("")
    with pytest.raises(InputError, match="damaged"):
        train(line(moved), progress=False)


def test_a_snapshot_that_fails_costs_no_step(tmp_path: Path) -> None:
    story = line(tmp_path, snapshot_minutes=1e-9)
    story.snapshot = lambda *_: 1 / 0  # type: ignore[method-assign]
    with pytest.raises(ZeroDivisionError):
        train(story, progress=False)
    assert [path.stem[-2:] for path in list_checkpoints(tmp_path)] == ["01"]


def test_times_are_minutes(tmp_path: Path) -> None:
    run = _Run(
        line(tmp_path, max_minutes=9, checkpoint_minutes=5, snapshot_minutes=7), progress=False
    )
    run.iteration = 1
    found: list[tuple[bool, bool, bool]] = []
    for minutes in (4, 6, 8, 10):
        run.started = run.saved = run.shown = time.monotonic() - 60 * minutes
        due = run._due([])
        found.append((due.save, due.show, due.stop))
    assert found == [(False,) * 3, (True, False, False), (True, True, False), (True,) * 3]


@pytest.mark.parametrize("where", ["loss", "weights"])
def test_nan_ends_the_run_and_never_reaches_a_checkpoint(tmp_path: Path, where: str) -> None:
    story = line(tmp_path, checkpoint_minutes=1e-9, log_iterations=1000)
    if where == "loss":
        story.at[7] = lambda: story.line.weight.data.fill_(math.nan)
        # the loss of the step after it is NaN, and the step's weights too
    else:
        story.at[7] = lambda: story.line.bias.data.fill_(math.inf)
    with pytest.raises(NotFiniteError, match=r"not finite at iteration 8; the last checkpoint"):
        train(story, progress=False)
    state = load_latest(tmp_path)
    assert state is not None
    assert state["iteration"] == 7
    assert all(torch.isfinite(v).all() for v in state["modules"]["line"].values())
    assert all(torch.isfinite(v).all() for v in load_file(tmp_path / "line.safetensors").values())
    end = train(line(tmp_path, learning_rate=0.01), progress=False)
    assert end.finished


def test_nan_in_a_reported_loss(tmp_path: Path) -> None:
    story = line(tmp_path)
    story.at[3] = lambda: story.line.weight.data.fill_(math.nan)
    with pytest.raises(NotFiniteError, match="loss not finite at iteration 5"):
        train(story, progress=False)
    assert load_latest(tmp_path) is None


@pytest.mark.parametrize("fails", [False, True])
def test_signal_handlers_are_restored(tmp_path: Path, fails: bool) -> None:
    def mine(*_: object) -> None:
        return

    before = signal.signal(signal.SIGTERM, mine)
    interrupt = signal.getsignal(signal.SIGINT)  # default_int_handler, or SIG_IGN under nohup
    try:
        story = line(tmp_path)
        if fails:
            story.at[3] = lambda: 1 / 0
            with pytest.raises(ZeroDivisionError):
                train(story, progress=False)
        else:
            train(story, progress=False)
        assert signal.getsignal(signal.SIGTERM) is mine
        assert signal.getsignal(signal.SIGINT) is interrupt
    finally:
        signal.signal(signal.SIGTERM, before)


def test_it_works_outside_of_the_main_thread(tmp_path: Path, straight: Path) -> None:
    ends: list[RunEnd] = []
    thread = threading.Thread(
        target=lambda: ends.append(train(line(tmp_path / "thread"), progress=False))
    )
    thread.start()
    thread.join()
    assert ends[0].finished
    assert_same_run(straight, tmp_path / "thread")


def test_ctrl_c_also_ends_with_a_checkpoint(tmp_path: Path) -> None:
    story = line(tmp_path)
    story.at[2] = lambda: signal.raise_signal(signal.SIGINT)
    assert train(story, progress=False) == RunEnd(tmp_path, 3, finished=False, interrupted=True)


def test_the_end_leaves_a_plot_and_a_snapshot(tmp_path: Path) -> None:
    story = line(tmp_path)
    train(story, progress=False)
    assert story.snapshots == [30]
    assert (tmp_path / "losses.png").read_bytes().startswith(b"\x89PNG")
    assert not list(tmp_path.glob("*.partial"))
