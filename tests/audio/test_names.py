from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soundleap.audio.names import SLUG_LENGTH, check_writable, file_name, plan_paths, slug
from soundleap.errors import InputError

SOUNDS = [("Rain on a roof!", 7), ("../../etc/passwd", 8)]


def test_slugs() -> None:
    assert slug("Rain on a tin roof") == "rain-on-a-tin-roof"
    assert slug("Ein Café – überall") == "ein-cafe-uberall"
    assert slug("../../etc/passwd\0") == "etc-passwd"
    assert slug("雨の音") == "sound"
    assert slug("a very long description of some sounds in town") == (
        "a-very-long-description-of-some-sounds"
    )
    assert file_name(3, "Rain!", 12, "flac") == "0003-rain-12.flac"


@given(st.text())
def test_slugs_are_safe(prompt: str) -> None:
    name = slug(prompt)
    assert 0 < len(name) <= SLUG_LENGTH
    assert name.strip("-") == name
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")


def test_files_and_folders(tmp_path: Path) -> None:
    names = ["0001-rain-on-a-roof-7.wav", "0002-etc-passwd-8.wav"]
    for output in (tmp_path, tmp_path / "new", f"{tmp_path}/v1.2/"):
        assert plan_paths(output, SOUNDS) == [Path(output) / name for name in names]
    assert plan_paths(tmp_path, SOUNDS[:1], "OGG") == [tmp_path / "0001-rain-on-a-roof-7.ogg"]
    assert plan_paths(tmp_path / "x.FLAC", SOUNDS[:1]) == [tmp_path / "x.FLAC"]
    assert plan_paths(tmp_path / "x.sound", SOUNDS[:1], "mp3") == [tmp_path / "x.sound"]


def test_outputs_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="one file for 2 sounds; give a folder"):
        plan_paths(tmp_path / "x.wav", SOUNDS)
    with pytest.raises(InputError, match="unknown format 'xyz'"):
        plan_paths(tmp_path / "x.xyz", SOUNDS[:1])
    with pytest.raises(InputError, match="unknown format 'xyz'"):
        plan_paths(tmp_path, SOUNDS, "xyz")


def test_check_writable(tmp_path: Path) -> None:
    there = tmp_path / "there.wav"
    there.write_text("mine")
    check_writable([tmp_path / "a.wav", tmp_path / "new" / "deep" / "b.wav"])
    check_writable([there], overwrite=True)
    with pytest.raises(InputError, match=r"there.wav exists"):
        check_writable([tmp_path / "a.wav", there])
    with pytest.raises(InputError, match="is a folder"):
        check_writable([tmp_path], overwrite=True)
    with pytest.raises(InputError, match="can't write to"):
        check_writable([there / "inside.wav"])
    if Path("/proc").is_dir():
        with pytest.raises(InputError, match="can't write to /proc"):
            check_writable([Path("/proc/nowhere/a.wav")])
    assert [path.name for path in tmp_path.iterdir()] == ["there.wav"]


def test_names_that_the_system_refuses_are_found_before_any_work(tmp_path: Path) -> None:
    for output in (tmp_path / ("x" * 300 + ".wav"), tmp_path / "a\0b.wav"):
        with pytest.raises(InputError, match="can't write"):
            check_writable(plan_paths(output, SOUNDS[:1]))


def test_a_dot_in_a_new_folder_needs_a_separator(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"unknown format '2'.*; end a new folder's name with /"):
        plan_paths(tmp_path / "v1.2", SOUNDS)


def test_one_name_for_two_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a.png is the name of two files"):
        check_writable([tmp_path / "a.png", tmp_path / "a.png"])
