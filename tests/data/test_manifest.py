import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from soundleap.data.manifest import (
    Clip,
    merge_manifests,
    read_manifest,
    validate_manifest,
    write_manifest,
)
from soundleap.errors import InputError

CLIP = Clip(
    id="a",
    file="audio/a.flac",
    start=0.0,
    seconds=0.5,
    captions=("a dog barks", "barking"),
    source="yard",
    licence="CC0-1.0",
    author="Ann",
    split="train",
    kind="event",
)


def write_tone(path: Path, seconds: float = 1.0, level: float = 0.5) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(round(16_000 * seconds)) / 16_000
    soundfile.write(path, level * np.sin(2 * np.pi * 440 * time), 16_000)


def write_rows(folder: Path, *rows: object) -> Path:
    path = folder / "manifest.jsonl"
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def row(**changes: object) -> dict[str, object]:
    return {**asdict(CLIP), **changes}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_tone(tmp_path / "audio" / "a.flac")
    return tmp_path


def test_written_manifest_reads_back(folder: Path):
    clips = [CLIP, replace(CLIP, id="b", author="Žofie", split="heldout", start=0.25)]
    write_manifest(clips, folder / "manifest.jsonl")
    assert read_manifest(folder / "manifest.jsonl") == clips
    assert validate_manifest(folder / "manifest.jsonl", check_audio=True) == []
    assert {path.name for path in folder.iterdir()} == {"audio", "manifest.jsonl"}


@pytest.mark.parametrize(
    ("bad", "field", "message"),
    [
        ("{", "", "not JSON"),
        ("", "", "not JSON"),
        ("[" * 100_000, "", "not JSON"),
        ("[1]", "", "not a JSON object but list"),
        (row(extra=1), "extra", "unknown field"),
        ({k: v for k, v in row().items() if k != "licence"}, "licence", "missing"),
        (row(id=7), "id", "7 is int, not text"),
        (row(licence=" "), "licence", "empty"),
        (row(captions="dog"), "captions", "not a list"),
        (row(captions=[]), "captions", "at least one"),
        (row(captions=["dog", " "]), "captions", "not a text with words"),
        (row(seconds=0), "seconds", "must be longer"),
        (row(seconds=-1), "seconds", "-1 s; allowed: 0 to"),
        (row(seconds=10**400), "seconds", "allowed: 0 to"),
        (row(seconds=float("nan")), "seconds", "not finite"),
        (row(seconds=True), "seconds", "not a number"),
        (row(start="0"), "start", "not a number"),
        (row(start=-0.1), "start", "-0.1 s; allowed"),
        (row(split="test"), "split", "unknown value 'test' (known: train, heldout)"),
        (row(kind="noise"), "kind", "unknown value"),
        (row(file="../a.flac"), "file", "leads out of"),
        (row(file="audio/../../a.flac"), "file", "leads out of"),
        (row(file="/etc/passwd"), "file", "leads out of"),
        (row(file="C:a.flac"), "file", "relative path"),
        (row(file="audio\\a.flac"), "file", "relative path"),
        (row(file="audio/b.flac"), "file", "does not exist"),
        (row(file="audio"), "file", "does not exist"),
    ],
)
def test_every_fault_is_named_with_its_line(folder: Path, bad: object, field: str, message: str):
    path = write_rows(folder, row(id="fine"), bad)
    (fault,) = validate_manifest(path)
    assert (fault.line, fault.field) == (2, field)
    assert message in fault.message
    with pytest.raises(InputError, match="1 faults"):
        read_manifest(path)


def test_all_faults_of_all_lines_are_reported(folder: Path):
    path = write_rows(folder, row(), row(split="x", seconds=0, file="no"), "?", row(file="/a"))
    found = [(fault.line, fault.field) for fault in validate_manifest(path)]
    assert sorted(found) == [
        (2, "file"), (2, "id"), (2, "seconds"), (2, "split"), (3, ""), (4, "file"), (4, "id"),
    ]  # fmt: skip
    assert "'a' is already on line 1" in str(validate_manifest(path))


def test_error_shows_twenty_faults_and_the_count(folder: Path):
    path = write_rows(folder, *(["?"] * 30))
    with pytest.raises(InputError) as error:
        read_manifest(path)
    assert "30 faults" in str(error.value)
    assert "line 20:" in str(error.value)
    assert "line 21:" not in str(error.value)


def test_empty_and_missing_manifests(folder: Path):
    (folder / "manifest.jsonl").write_text("")
    assert [fault.message for fault in validate_manifest(folder / "manifest.jsonl")] == ["no clips"]
    with pytest.raises(InputError, match="can't read"):
        read_manifest(folder / "other.jsonl")


def test_audio_faults(folder: Path):
    (folder / "audio" / "junk.flac").write_bytes(b"junk" * 50)
    write_tone(folder / "audio" / "silent.flac", level=0.0)
    nan = np.full(16_000, np.nan, dtype=np.float32)
    soundfile.write(folder / "audio" / "nan.wav", nan, 16_000, subtype="FLOAT")
    path = write_rows(
        folder,
        row(),
        row(id="b", file="audio/junk.flac"),
        row(id="c", file="audio/silent.flac"),
        row(id="d", file="audio/nan.wav"),
        row(id="e", start=0.75),
    )
    assert validate_manifest(path) == []
    messages = {fault.line: fault.message for fault in validate_manifest(path, check_audio=True)}
    assert list(messages) == [2, 3, 4, 5]
    for line, words in enumerate(("can't be read", "silence", "NaN", "1.25 s but"), start=2):
        assert words in messages[line]


def test_merge_rebases_files(folder: Path):
    for name in ("one", "two"):
        write_tone(folder / name / "audio" / "a.flac")
        write_manifest([replace(CLIP, id=name)], folder / name / "manifest.jsonl")
    paths = [folder / name / "manifest.jsonl" for name in ("one", "two")]
    merged = merge_manifests(paths, folder / "all.jsonl")
    assert read_manifest(folder / "all.jsonl") == merged
    assert [clip.file for clip in merged] == ["one/audio/a.flac", "two/audio/a.flac"]
    with pytest.raises(InputError, match="not within"):
        merge_manifests(paths, folder / "one" / "all.jsonl")
    with pytest.raises(InputError, match="id 'one' is in"):
        merge_manifests([paths[0], paths[0]], folder / "all.jsonl")
    assert read_manifest(folder / "all.jsonl") == merged


def test_failed_write_keeps_the_old_manifest(folder: Path):
    write_manifest([CLIP], folder / "manifest.jsonl")

    def clips():
        yield CLIP
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        write_manifest(clips(), folder / "manifest.jsonl")
    assert read_manifest(folder / "manifest.jsonl") == [CLIP]
    assert {path.name for path in folder.iterdir()} == {"audio", "manifest.jsonl"}
