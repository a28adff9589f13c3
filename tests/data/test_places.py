"""Folders whose files are whole or not there, and the rows of an index of shards."""

from __future__ import annotations

from pathlib import Path

from soundleap.data.places import Folder
from soundleap.data.shard_index import Rows, Words


def test_lists_end_to_end() -> None:
    rows = Rows.of([[1, 2], [], [3]])
    assert [rows[i] for i in range(3)] == [[1, 2], [], [3]] == list(rows)
    assert rows[-1] == [3]
    assert rows[1:] == [[], [3]]
    words = Words.of(["", "Bäche", "wind"])
    assert [words[i] for i in range(3)] == ["", "Bäche", "wind"]


def test_a_name_never_stands_for_half_a_file(tmp_path: Path) -> None:
    place = Folder(tmp_path / "new")
    place.write("a", b"one")
    place.write("a", b"two")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a"]
    assert place.read("a") == b"two"
