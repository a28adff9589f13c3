from __future__ import annotations

from pathlib import Path

import pytest

from soundleap.cli.main import main
from soundleap.errors import InputError
from soundleap.generator import Generator
from soundleap.offline import OfflineFolder, Shard
from soundleap.offline.manifest import read
from soundleap.pipeline import TextToAudio
from soundleap.requests import Request, Sample


@pytest.fixture(scope="module")
def samples(pipeline: TextToAudio) -> list[Sample]:
    texts = ("rain", "wind", "a dog", "a bell")
    return pipeline.check([Request(t, seed=i, duration_in_s=0.5) for i, t in enumerate(texts)])


@pytest.fixture(scope="module")
def sounds(pipeline: TextToAudio, samples: list[Sample]) -> list[bytes]:
    from soundleap.offline.folder import encoded

    results = Generator(pipeline).generate([Request(**vars(sample)) for sample in samples])
    return [encoded(result, "wav", True) for result in results]


def folder(samples: list[Sample], place: Path, pipeline: TextToAudio, shard: str = "1/1"):
    fingerprint = pipeline.manifest.fingerprint
    return OfflineFolder(samples, place, Shard.parse(shard), fingerprint=fingerprint)


def names(place: Path) -> list[str]:
    return sorted(path.name for path in place.iterdir())


def test_a_run_goes_on_where_one_failed(
    samples: list[Sample], sounds: list[bytes], pipeline: TextToAudio, tmp_path: Path
) -> None:
    first = folder(samples, tmp_path, pipeline)
    first.__enter__()
    first.keep(2, sounds[2])
    first.__exit__(RuntimeError, RuntimeError(), None)
    assert names(tmp_path) == ["0003-a-dog-2.wav", "manifest-1-of-1.jsonl"]
    second = folder(samples, tmp_path, pipeline)
    with second:
        assert second.missing == [0, 1, 3]
        with pytest.raises(ValueError, match="position 2 is not missing"):
            second.keep(2, sounds[2])
        for position in (3, 0, 1):
            second.keep(position, sounds[position])
    rows = read(tmp_path / "manifest.jsonl")[1]
    assert [(row.position, row.prompt) for row in rows] == list(
        enumerate(("rain", "wind", "a dog", "a bell"))
    )
    assert [(tmp_path / row.file).read_bytes() for row in rows] == sounds


def test_unfinished_lines_and_files_of_a_killed_run_are_taken_away(
    samples: list[Sample], sounds: list[bytes], pipeline: TextToAudio, tmp_path: Path
) -> None:
    with folder(samples, tmp_path, pipeline) as run:
        run.keep(0, sounds[0])
    manifest = tmp_path / "manifest-1-of-1.jsonl"
    kept = manifest.read_bytes()
    row = kept.splitlines(keepends=True)[1]
    left = tmp_path / ".soundleap-1-of-1"
    left.mkdir()
    (left / "0002-wind-1.wav").write_bytes(sounds[1][:100])
    manifest.write_bytes(kept + row + row.replace(b'"position": 0', b'"position": 1') + row[:20])
    with folder(samples, tmp_path, pipeline) as run:
        assert run.missing == [1, 2, 3]
        assert list(left.iterdir()) == [left / "lock"]
    assert manifest.read_bytes() == kept
    assert not left.exists()


def test_what_changed_on_disk_is_made_anew_and_what_fits_is_taken_over(
    samples: list[Sample], sounds: list[bytes], pipeline: TextToAudio, tmp_path: Path
) -> None:
    with folder(samples, tmp_path, pipeline) as run:
        run.keep(0, sounds[0])
    (tmp_path / "0001-rain-0.wav").write_bytes(sounds[0][:-50])
    (tmp_path / "0002-wind-1.wav").write_bytes(sounds[1])
    run = folder(samples, tmp_path, pipeline)
    with run:
        assert run.missing == [0, 2, 3]
        assert run.damaged == ["0001-rain-0.wav"]


@pytest.mark.parametrize("what", ["other", "cut", "no sound"])
def test_files_of_others_are_left_alone(
    what: str, samples: list[Sample], sounds: list[bytes], pipeline: TextToAudio, tmp_path: Path
) -> None:
    data = {"other": sounds[0], "cut": sounds[1][: len(sounds[1]) // 2], "no sound": b"mine"}[what]
    (tmp_path / "0002-wind-1.wav").write_bytes(data)
    with pytest.raises(InputError, match="is not a sound of this list"):
        folder(samples, tmp_path, pipeline).__enter__()
    assert names(tmp_path) == ["0002-wind-1.wav"]
    assert (tmp_path / "0002-wind-1.wav").read_bytes() == data


def test_two_runs_of_one_shard_are_kept_apart(
    samples: list[Sample], sounds: list[bytes], pipeline: TextToAudio, tmp_path: Path
) -> None:
    with folder(samples, tmp_path, pipeline, "1/2") as run:
        with pytest.raises(InputError, match="another process is making shard 1/2"):
            folder(samples, tmp_path, pipeline, "1/2").__enter__()
        with folder(samples, tmp_path, pipeline, "2/2") as other:
            for position in other.missing:
                other.keep(position, sounds[position])
        run.keep(0, sounds[0])
        assert run.open_positions == [2]
    assert not (tmp_path / "manifest.jsonl").exists()


def test_shards_equal_the_whole_bit_for_bit(
    untrained_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("rain\nwind\na dog\n")
    end = ("--seed", "5", "--duration", "0.5", "--count", "2", "--model", str(untrained_folder))

    def run(place: str, *more: str) -> tuple[int, str, str]:
        code = main(
            ["generate", "--prompts", str(prompts), "-o", str(tmp_path / place), *more, *end]
        )
        return code, *capsys.readouterr()

    assert run("whole")[0] == 0
    for i in (2, 3, 1):
        code, out, _ = run("parts", "--shard", f"{i}/3")
        assert code == 0
        assert f"shard {i}/3: 2 made, 0 were there" in out
    sounds = names(tmp_path / "whole")
    for name in sounds:
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()
    assert len(sounds) == 6
    assert "0 made, 2 were there" in run("parts", "--shard", "1/3")[1]
    assert "0 made, 6 were there" in run("whole", "--shard", "1/1")[1]
    whole = (tmp_path / "whole" / "manifest.jsonl").read_bytes()
    assert whole == (tmp_path / "parts" / "manifest.jsonl").read_bytes()
    assert "cut into 3 shards, now into 2" in run("parts", "--shard", "1/2")[2]
    assert "settings have changed" in run("parts", "--shard", "1/3", "--format", "flac")[2]
    assert "--overwrite does not go with" in run("parts", "--shard", "1/3", "--overwrite")[2]
    prompts.write_text("rain\nwind\na cat\n")
    code, _, err = run("parts", "--shard", "1/3")
    assert code == 2
    assert "the prompt list or its seeds have changed" in err
