"""Full disks and lost data end a run in words, with a checkpoint that is good to go on from."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from toy_runs import Toy, assert_same_run

from soundleap.cli.main import main
from soundleap.data.disk import fullness, told_when_full
from soundleap.data.latents import LatentCache
from soundleap.data.shards import write_shards
from soundleap.errors import AudioFileError, DataError, DiskFullError, InputError
from soundleap.training.cache import CacheSettings, make_cache
from soundleap.training.checkpoint import list_checkpoints, load_checkpoint
from soundleap.training.loop import train
from soundleap.training.settings import load_settings
from soundleap.training.snapshots import write_sounds
from soundleap.training.teacher import TeacherStory


@contextmanager
def limited(size: int) -> Generator[None]:
    """Let no file grow beyond so many bytes, which fails as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def small_disk(size: int) -> Generator[Path]:
    """Give a disk of so many bytes, where one may be made."""
    folder = Path(tempfile.mkdtemp())
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        folder.rmdir()
        pytest.skip("no right to make a small disk here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)
        folder.rmdir()


def save_text(path: Path) -> None:
    path.write_text("a" * 300_000)


def save_torch(path: Path) -> None:
    with path.open("wb") as file:
        torch.save({"a": torch.zeros(100_000)}, file)


def save_tensors(path: Path) -> None:
    save_file({"a": torch.zeros(100_000)}, path)


def save_sounds(path: Path) -> None:
    write_sounds(path.parent, {"a": torch.zeros(200_000)}, 16000)


@pytest.mark.parametrize("save", [save_text, save_torch, save_tensors, save_sounds])
def test_every_way_of_writing_tells_a_full_disk(save, tmp_path: Path) -> None:
    with (
        limited(200_000),
        pytest.raises(DiskFullError, match=r"can't write to here: .* too large; do this"),
        told_when_full("here", lambda: "do this"),
    ):
        save(tmp_path / "x")
    with (
        small_disk(200_000) as disk,
        pytest.raises(DiskFullError, match=r"no space left on the disk; do this"),
        told_when_full(disk, lambda: "do this"),
    ):
        save(disk / "x")


def test_other_errors_pass() -> None:
    for error in (OSError(errno.EACCES, "no"), AudioFileError("a"), ValueError("os error 28")):
        with pytest.raises(type(error)), told_when_full("here", lambda: "never"):
            raise error
    assert fullness(OSError(errno.ENOSPC, "x")) == "no space left on the disk"
    assert fullness(None) is None


def test_a_run_on_a_full_disk_stops_and_goes_on(toy: Toy, tmp_path: Path) -> None:
    straight = toy.teacher_settings(tmp_path / "straight", iterations=5, decay_share=0.0)
    train(TeacherStory(straight, progress=False), progress=False)
    settings = replace(straight, run_dir=str(tmp_path / "full"))
    with limited(10_000), pytest.raises(DiskFullError, match="no checkpoint was written; make ro"):
        train(TeacherStory(replace(settings, iterations=2), progress=False), progress=False)
    train(TeacherStory(replace(settings, iterations=2), progress=False), progress=False)
    name = "checkpoint-000000002.pt"
    with limited(10_000), pytest.raises(DiskFullError, match=f"the last checkpoint, {name}, stays"):
        train(TeacherStory(replace(settings, iterations=4), progress=False), progress=False)
    assert [path.name for path in list_checkpoints(tmp_path / "full")] == [name]
    assert load_checkpoint(tmp_path / "full" / name)["iteration"] == 2
    assert not list((tmp_path / "full").glob("*.partial"))
    train(TeacherStory(settings, progress=False), progress=False)
    assert_same_run(tmp_path / "straight", tmp_path / "full")


@pytest.mark.slow
def test_the_command_on_a_disk_that_fills_up(toy: Toy, tmp_path: Path) -> None:
    with small_disk(8_000_000) as disk:
        settings = toy.teacher_settings(disk / "run", iterations=4)
        train(TeacherStory(replace(settings, iterations=2), progress=False), progress=False)
        rest = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
        (disk / "other").write_bytes(bytes(rest - 8192))
        command = [sys.executable, "-m", "soundleap", "train", "teacher",
                   str(disk / "run" / "settings.yaml"), "iterations=4", "-q"]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 1
        assert done.stderr.startswith("soundleap: can't write to ")
        assert "Traceback" not in done.stderr
        assert "no space left on the disk" in done.stderr
        assert load_checkpoint(list_checkpoints(disk / "run")[-1])["iteration"] == 2
        (disk / "other").unlink()
        assert subprocess.run(command, capture_output=True).returncode == 0


def test_a_shard_lost_on_the_way(toy: Toy, tmp_path: Path) -> None:
    shards = tmp_path / "shards"
    write_shards(toy.cache, shards, shard_size=7, progress=False)
    straight = toy.teacher_settings(tmp_path / "straight", cache=str(shards), iterations=12)
    train(TeacherStory(straight, progress=False), progress=False)

    lost: list[Path] = []

    class Losing(TeacherStory):
        def step(self, iteration: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
            if iteration == 1:
                for path in shards.glob("latents-*.tar"):
                    path.rename(path.with_suffix(".away"))
                    lost.append(path)
            return super().step(iteration, generator)

    settings = replace(straight, run_dir=str(tmp_path / "run"))
    with pytest.raises(DataError, match=r"latents-0000\d.tar of .* is lost; bring it back"):
        train(Losing(settings, progress=False), progress=False)
    paths = list_checkpoints(tmp_path / "run")
    assert len(paths) == 1
    assert load_checkpoint(paths[0])["iteration"] >= 1
    for path in lost:
        path.with_suffix(".away").rename(path)
    train(TeacherStory(settings, progress=False), progress=False)
    assert_same_run(tmp_path / "straight", tmp_path / "run")


def test_the_command_with_a_lost_shard(
    toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shards = tmp_path / "shards"
    write_shards(toy.cache, shards, shard_size=50, progress=False)
    (shards / "latents-00000.tar").write_bytes(b"")
    preset = tmp_path / "preset.yaml"
    values = {"run_dir": tmp_path / "run", "cache": shards, "heldout_cache": toy.heldout_cache,
              "codec": toy.codec, "width": 32, "blocks": 1, "heads": 2,
              "mixed_precision": "no"}  # fmt: skip
    preset.write_text("".join(f"{key}: {value}\n" for key, value in values.items()))
    assert main(["train", "teacher", str(preset), "-q"]) == 1
    told = capsys.readouterr().err
    assert told.startswith("soundleap: latents-00000.tar of ")
    assert "is damaged: its sha256 is" in told


def test_a_missing_tracker_is_told_before_any_work(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    settings = toy.teacher_settings(tmp_path / "run", tracker="wandb")
    with pytest.raises(InputError, match="tracker wandb: not installed"):
        train(TeacherStory(settings, progress=False), progress=False)
    assert not (tmp_path / "run").exists()


def test_shards_and_caches_on_a_full_disk(toy: Toy, tmp_path: Path) -> None:
    shards, copy = tmp_path / "shards", tmp_path / "cache"
    with limited(5_000), pytest.raises(DiskFullError, match="shards: a file would be too large"):
        write_shards(toy.cache, shards, progress=False)
    assert not [path for path in shards.iterdir() if not path.name.startswith(".")]
    write_shards(toy.cache, shards, progress=False)
    shutil.copytree(toy.cache, copy)
    settings = load_settings(CacheSettings, str(copy / "settings.yaml"), [f"run_dir={copy}"])
    (copy / "text-00000.safetensors").unlink()
    with limited(5_000), pytest.raises(DiskFullError, match="make room and give the same command"):
        make_cache(settings, progress=False)
    make_cache(settings, progress=False)
    assert len(LatentCache(copy).lengths) == 20
