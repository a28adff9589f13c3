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
import torch
import yaml
from toy_runs import Toy, assert_same_run, outcome

from soundleap.cli.train import STOPPED
from soundleap.training.checkpoint import list_checkpoints
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
def test_kill_9_while_a_checkpoint_is_written(settings: TeacherSettings, tmp_path: Path) -> None:
    killed = replace(settings, run_dir=str(tmp_path / "killed"), checkpoint_minutes=1e-9)
    folder, process = Path(killed.run_dir), start(killed, tmp_path)
    while process.poll() is None:
        if list_checkpoints(folder) and list(folder.glob("checkpoint-*.partial")):
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(1e-3)
    assert process.wait() == -signal.SIGKILL  # one was seen, of more than a hundred
    assert start(replace(killed, checkpoint_minutes=60.0), tmp_path).wait() == 0
    assert_same_run(settings.run_dir, killed.run_dir)
    assert not list(folder.glob("*.partial"))


TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone"]


@posix
@pytest.mark.slow
def test_torchrun_runs_the_command_on_two_processes(
    settings: TeacherSettings, tmp_path: Path
) -> None:
    two = replace(settings, run_dir=str(tmp_path / "two"), max_minutes=1e-9)
    path = tmp_path / "two.yaml"
    for minutes, code in ((1e-9, 1), (None, 0)):  # torchrun's own code for any but 0 is 1
        values = {"stage": "teacher", **as_dict(replace(two, max_minutes=minutes))}
        path.write_text(yaml.safe_dump(values))
        command = [*TORCHRUN, "-m", "soundleap", "train", "teacher", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
    assert done.stdout.count("finished:") == 1
    (a, _, _), (b, _, _) = outcome(settings.run_dir), outcome(two.run_dir)
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@posix
def test_sigterm_at_a_random_moment(settings: TeacherSettings, tmp_path: Path) -> None:
    killed = replace(settings, run_dir=str(tmp_path / "killed"), checkpoint_minutes=1e-3)
    code, delay = kill(killed, tmp_path, signal.SIGTERM)
    done = (Path(killed.run_dir) / "teacher.safetensors").exists()
    late = (0, -signal.SIGTERM) if done else ()  # the signal met a process that was leaving
    assert code in (STOPPED, *late), delay
    train(TeacherStory(killed, progress=False), progress=False)
    assert_same_run(settings.run_dir, killed.run_dir)
