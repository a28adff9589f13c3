"""Checkpoints: whole or not at all, the newest that can be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from soundleap.errors import SoundleapError
from soundleap.training.checkpoint import (
    KEEP,
    checkpoint_path,
    list_checkpoints,
    load_checkpoint,
    load_latest,
    save_checkpoint,
)


def state(iteration: int) -> dict[str, Any]:
    return {"iteration": iteration, "modules": {"a": {"weight": torch.full((50,), iteration)}}}


def test_the_newest_is_loaded_and_the_last_few_are_kept(tmp_path: Path) -> None:
    assert load_latest(tmp_path) is None
    for i in (5, 20, 100, 1000):
        save_checkpoint(tmp_path, i, state(i))
    torch.testing.assert_close(load_latest(tmp_path), state(1000))
    assert len(list_checkpoints(tmp_path)) == KEEP
    assert not list(tmp_path.glob("*.partial"))


def test_as_many_are_kept_as_asked(tmp_path: Path) -> None:
    for i in range(1, 6):
        save_checkpoint(tmp_path, i, state(i), keep=3)
    assert [path.name[-4] for path in list_checkpoints(tmp_path)] == ["3", "4", "5"]
    save_checkpoint(tmp_path, 6, state(6), keep=1)
    assert list_checkpoints(tmp_path) == [checkpoint_path(tmp_path, 6)]


@pytest.mark.parametrize("place", [0.0, 0.3, 0.5, 0.7, 0.99])
def test_one_flipped_bit_is_passed_over_or_of_no_matter(tmp_path: Path, place: float) -> None:
    numbers = {"numbers": torch.arange(4000.0)}
    save_checkpoint(tmp_path, 1, {"iteration": 1, **numbers})
    path = save_checkpoint(tmp_path, 2, {"iteration": 2, **numbers})
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 4
    path.write_bytes(content)
    found = load_latest(tmp_path)
    assert found is not None
    assert found["iteration"] == 1 or place == 0.99  # there only names and places are
    torch.testing.assert_close(found["numbers"], numbers["numbers"], rtol=0, atol=0)


def test_processes_can_map_a_checkpoint(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, 3, state(3))
    torch.testing.assert_close(load_checkpoint(path, mapped=True), state(3))


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped"])
def test_a_damaged_one_is_passed_over(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    save_checkpoint(tmp_path, 1, state(1))
    path = save_checkpoint(tmp_path, 2, state(2))
    whole = path.read_bytes()
    path.write_bytes(
        {"empty": b"", "cut": whole[: len(whole) // 2], "flipped": b"x" * len(whole)}[damage]
    )
    torch.testing.assert_close(load_latest(tmp_path), state(1))
    assert "checkpoint-000000002.pt can't be read" in caplog.text


def test_all_damaged_is_an_error(tmp_path: Path) -> None:
    for i in (1, 2):
        save_checkpoint(tmp_path, i, state(i)).write_bytes(b"no")
    with pytest.raises(SoundleapError, match=r"none of the 2 checkpoints .* move them away"):
        load_latest(tmp_path)


def test_a_failed_save_leaves_the_folder_as_it_was(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 1, state(1))
    with pytest.raises((AttributeError, TypeError, RuntimeError)) as caught:
        save_checkpoint(tmp_path, 2, {"bad": (lambda: 0)})
    assert caught.value
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-000000001.pt"]


def test_leftovers_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    left = tmp_path / "checkpoint-000000001.partial"
    left.write_bytes(b"half")
    save_checkpoint(tmp_path, 2, state(2))
    assert not left.exists()
