"""What a run tells: time left, trackers, the page."""

from __future__ import annotations

import json
import sqlite3
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from soundleap.errors import InputError
from soundleap.training.progress import Pace, duration
from soundleap.training.run_folder import heldout_numbers, sounds_of
from soundleap.training.run_page import spread
from soundleap.training.run_plots import MOST_POINTS, curve, smoothed, thinned
from soundleap.training.run_report import RunReport
from soundleap.training.settings import load_settings, tracker_names
from soundleap.training.snapshots import write_sounds
from soundleap.training.teacher import TeacherSettings
from soundleap.training.trackers import run_name

PROMPTS = ("a dog barks & <howls>", "rain")


def settings_of(folder: Path, **changes: Any) -> TeacherSettings:
    values: dict[str, Any] = {"iterations": 100, "preview_prompts": PROMPTS, **changes}
    return TeacherSettings(
        run_dir=str(folder), cache="cache", heldout_cache="heldout", codec="codec", **values
    )


def write_snapshot(folder: Path, iteration: int, way: str = "") -> None:
    time = torch.arange(4000) / 16000
    sounds = {f"{i}-x": 0.5 * torch.sin(2500 * (i + 1) * time) for i in range(2)}
    write_sounds(folder / f"snapshot-{iteration:06d}{way}", sounds, 16000)


def tell(folder: Path, report: RunReport, iterations: tuple[int, ...]) -> None:
    """Do what the loop does at every snapshot."""
    for n in iterations:
        with (folder / "stats.jsonl").open("a") as file:
            file.write(json.dumps({"iteration": n, "seconds": n / 2, "loss": 1 / n}) + "\n")
        with (folder / "heldout.tsv").open("a") as file:
            file.write(f"{n}\t{2 / n:.5f}\n")
        write_snapshot(folder, n)
        report.step(n)
        report.scalars(n, {"loss": 1 / n, "skipped": 0.0})
        report.snapshot(n)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_time_left_counts_what_this_process_did() -> None:
    clock = Clock()
    pace = Pace(100, 40, None, clock)
    assert str(pace.left()) == "? left"
    clock.now, pace.iteration = 20.0, 50
    assert pace.seconds_each == 2.0
    assert pace.left().to_end == 100.0  # not the 10 s of 50 iterations in 20 s
    assert str(pace.left()) == "2 min left"


def test_time_left_where_the_time_is_limited() -> None:
    clock = Clock()
    pace = Pace(100, 0, 1.0, clock)
    clock.now, pace.iteration = 20.0, 10
    assert (pace.left().to_end, pace.left().to_stop) == (180.0, 40.0)
    assert str(pace.left()) == "3 min left, stops in 40 s"
    clock.now, pace.iteration = 30.0, 90
    assert pace.left().to_stop is None  # it will be done before
    clock.now, pace.iteration = 70.0, 91
    assert pace.left().to_stop == 0.0


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (59, "59 s"), (90, "2 min"), (3599, "1 h 0 min"), (5400, "1 h 30 min"),
     (50 * 3600, "2 d 2 h")],
)  # fmt: skip
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_the_bar_shows_loss_and_time_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = RunReport(settings_of(tmp_path), tmp_path, 40, progress=True)
    report.scalars(41, {"loss": 0.25, "gradient": 3.0, "skipped": 2.0})
    for n in range(41, 101):
        report.step(n)
    report.end(100, finished=True)
    told = capsys.readouterr().err
    assert "100/100" in told
    assert "0 s left" in told
    assert "loss=0.25, skipped=2" in told


def test_other_processes_are_mute(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = RunReport(settings_of(tmp_path), tmp_path, 0, progress=True, main=False)
    report.step(1)
    report.scalars(1, {"loss": 1.0})
    report.snapshot(1)
    report.end(1, finished=False)
    assert not list(tmp_path.iterdir())
    assert capsys.readouterr().err == ""


def test_the_page(tmp_path: Path) -> None:
    report = RunReport(settings_of(tmp_path), tmp_path, 0, progress=False)
    assert "Iteration 0 of 100, running." in (tmp_path / "index.html").read_text()
    tell(tmp_path, report, (10, 20, 30))
    write_snapshot(tmp_path, 40, "-2-steps")
    (tmp_path / "checkpoint-000000030.pt").write_bytes(bytes(2_000_000))
    report.end(30, finished=False)
    page = (tmp_path / "index.html").read_text()
    assert "Iteration 30 of 100, stopped: the same command goes on. 15 s of work" in page
    assert "a dog barks &amp; &lt;howls&gt;" in page
    assert "<howls>" not in page
    for kind, name in (
        ("src", "snapshot-000040-2-steps/0-x.wav"),
        ("src", "snapshot-000020/1-x.png"),
        ("href", "checkpoint-000000030.pt"),
        ("href", "stats.jsonl"),
    ):
        assert f'{kind}="{name}"' in page, name
        assert (tmp_path / name).exists()
    assert page.index("snapshot-000040-2-steps") < page.index("snapshot-000020/")
    assert "0.06667" in page  # the last held-out number
    assert "http" not in page.replace("http-equiv", "")
    assert {p.name for p in tmp_path.glob(".*")} == set()


def test_a_failing_listener_does_not_end_the_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    report = RunReport(settings_of(tmp_path), tmp_path, 0, progress=False)
    (tmp_path / "heldout.tsv").write_bytes(b"\xff\xfe")  # not text
    report.snapshot(1)
    assert "page of the run failed and is left out from here on" in caplog.text
    report.snapshot(2)
    report.end(2, finished=True)
    assert len(caplog.records) == 1


def test_sounds_of_a_run(tmp_path: Path) -> None:
    write_snapshot(tmp_path, 1_000_000)
    write_snapshot(tmp_path, 7, "-1-steps")
    (tmp_path / "snapshot-000007-1-steps" / "rain-far-away.wav").write_bytes(b"")
    (tmp_path / "snapshot-x").mkdir()
    sounds = sounds_of(tmp_path, prompts=("one",))
    told = [(s.iteration, s.label, s.picture is not None) for s in sounds]
    assert told == [
        (7, "one (1 step)", True), (7, "1 x (1 step)", True), (7, "rain far away (1 step)", False),
        (1_000_000, "one", True), (1_000_000, "1 x", True),
    ]  # fmt: skip
    assert sounds[0].sampling_rate == 16000
    assert len(sounds_of(tmp_path, 7)) == 3


def test_heldout_numbers_of_a_run_that_went_back(tmp_path: Path) -> None:
    assert heldout_numbers(tmp_path) == []
    (tmp_path / "heldout.tsv").write_text("10\t3.0\n20\t2.0\n10\t2.5\n3")
    assert heldout_numbers(tmp_path) == [(10, 2.5), (20, 2.0)]


def test_curves() -> None:
    points = [(float(i), 1.0 + i % 2) for i in range(10_000)]
    thin = thinned(points)
    assert len(thin) <= MOST_POINTS
    assert sum(y for _, y in thin) / len(thin) == pytest.approx(1.5)
    assert smoothed([3.0] * 5) == pytest.approx([3.0] * 5)
    assert "logarithmic" in curve("loss", [(0, 1.0), (1, 100.0)])
    assert "logarithmic" not in curve("loss", [(0, -1.0), (1, 100.0)])
    assert "<circle" in curve("a < b", [(5, 2.0)])
    assert "a &lt; b" in curve("a < b", [(5, 2.0)])
    assert spread(list(range(100)), 3) == [0, 50, 99]


@pytest.mark.parametrize("text", ["tensorboard", "[tensorboard]", "none", "[trackio, wandb]"])
def test_tracker_is_a_name_or_several(tmp_path: Path, text: str) -> None:
    path = tmp_path / "preset.yaml"
    path.write_text("run_dir: x\ncache: c\nheldout_cache: h\ncodec: k\n")
    settings = load_settings(TeacherSettings, str(path), [f"tracker={text}"])
    names = {"none": (), "[trackio, wandb]": ("trackio", "wandb")}.get(text, ("tensorboard",))
    assert tracker_names(settings.tracker) == names


def test_trackers_that_are_none_or_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match="unknown tracker 'tensorbord'; did you mean 'tensorb"):
        settings_of(tmp_path, tracker=("tensorbord", "wandb"))
    for name in ("trackio", "wandb"):
        monkeypatch.setitem(sys.modules, name, None)
    settings = settings_of(tmp_path, tracker=("trackio", "wandb"))
    with pytest.raises(InputError, match=r"tracker trackio, wandb: .*`pip install trackio wandb`"):
        RunReport(settings, tmp_path, 0, progress=False)


def test_names_for_trackers(tmp_path: Path) -> None:
    names = [run_name(tmp_path / name) for name in ("a b", "a-b", "a b")]
    assert names[0] == names[2] != names[1]
    assert names[0].startswith("a-b-")


def test_tensorboard(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    settings = settings_of(tmp_path, tracker="tensorboard")
    first = RunReport(settings, tmp_path, 0, progress=False)
    tell(tmp_path, first, (10, 20, 30))
    first.end(30, finished=False)
    again = RunReport(settings, tmp_path, 10, progress=False)  # went back to a checkpoint
    again.scalars(20, {"loss": 7.0})
    again.end(20, finished=False)
    found = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    found.Reload()
    assert [(e.step, round(e.value, 5)) for e in found.Scalars("loss")] == [(10, 0.1), (20, 7.0)]
    tags = found.Tags()
    assert sorted(tags["audio"]) == sorted(PROMPTS)
    assert len(tags["audio"]) == len(tags["images"]) == 2
    sound = found.Audio(tags["audio"][0])[0]
    assert sound.encoded_audio_string.startswith(b"RIFF")
    assert sound.sample_rate == 16000
    assert found.Images(tags["images"][0])[0].encoded_image_string.startswith(b"\x89PNG")


def test_trackio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "store"))
    pytest.importorskip("trackio")
    run = tmp_path / "run"
    run.mkdir()
    report = RunReport(settings_of(run, tracker="trackio"), run, 0, progress=False)
    tell(run, report, (10, 20))
    report.end(20, finished=True)
    with sqlite3.connect(tmp_path / "store" / "soundleap.db") as store:
        rows = store.execute("SELECT metrics FROM metrics WHERE run_name = ?", (run_name(run),))
        told = [json.loads(row[0]) for row in rows]
    assert [line["loss"] for line in told if "loss" in line] == [0.1, 0.05]
    assert len(list((tmp_path / "store").rglob("*.wav"))) == 4


def test_wandb_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    report = RunReport(settings_of(tmp_path, tracker="wandb"), tmp_path, 0, progress=False)
    tell(tmp_path, report, (10,))
    report.end(10, finished=True)
    files = list((tmp_path / "wandb").glob("offline-run-*"))
    assert len(files) == 1
    assert len(list(files[0].rglob("*.wav"))) == len(list(files[0].rglob("*.png"))) == 2
    assert len(list(files[0].glob("*.wandb"))) == 1
