"""A training command that is killed at a random moment goes on as if nothing had happened."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from toy_runs import Toy, assert_same_run

from soundleap.cli.train import STOPPED
from soundleap.training.loop import train
from soundleap.training.settings import as_dict
from soundleap.training.teacher import TeacherSettings, TeacherStory

posix = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
COMMAND = "import sys; from soundleap.cli.main import main; sys.exit(main(sys.argv[1:]))"


def start(settings: TeacherSettings, folder: Path) -> subprocess.Popen[bytes]:
    path = folder / "settings-of-the-run.yaml"
    path.write_text(yaml.safe_dump({"stage": "teacher", **as_dict(settings)}))
    arguments = [sys.executable, "-c", COMMAND, "train", "teacher", str(path), "--quiet"]
    return subprocess.Popen(arguments, env={**os.environ, "OMP_NUM_THREADS": "1"})


@pytest.fixture(scope="module")
def settings(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> TeacherSettings:
    """The settings of a straight run that is done."""
    folder = tmp_path_factory.mktemp("straight")
    settings = toy.teacher_settings(folder, iterations=120)
    train(TeacherStory(settings, progress=False), progress=False)
    return settings


def kill(settings: TeacherSettings, folder: Path, number: int) -> tuple[int, float]:
    """Start the command, send a signal some time after its first checkpoint; return its end."""
    process = start(settings, folder)
    while not list(Path(settings.run_dir).glob("checkpoint-*.pt")):
        assert process.poll() is None
        time.sleep(0.01)
    delay = random.random() * 0.8  # unseeded: each run of the test takes another moment
    time.sleep(delay)
    process.send_signal(number)
    return process.wait(), delay


@posix
def test_kill_9_at_a_random_moment(settings: TeacherSettings, tmp_path: Path) -> None:
    killed = replace(settings, run_dir=str(tmp_path / "killed"), checkpoint_minutes=1e-3)
    code, delay = kill(killed, tmp_path, signal.SIGKILL)
    assert code in (-signal.SIGKILL, 0), delay
    assert start(killed, tmp_path).wait() == 0, delay
    assert_same_run(settings.run_dir, killed.run_dir)


@posix
def test_sigterm_at_a_random_moment(settings: TeacherSettings, tmp_path: Path) -> None:
    killed = replace(settings, run_dir=str(tmp_path / "killed"), checkpoint_minutes=1e-3)
    code, delay = kill(killed, tmp_path, signal.SIGTERM)
    done = (Path(killed.run_dir) / "teacher.safetensors").exists()
    late = (0, -signal.SIGTERM) if done else ()  # the signal met a process that was leaving
    assert code in (STOPPED, *late), delay
    train(TeacherStory(killed, progress=False), progress=False)
    assert_same_run(settings.run_dir, killed.run_dir)
