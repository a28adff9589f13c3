"""Shards of latents and text states: what the cache holds, in files that others can read."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_runs import Toy, assert_same_run

from soundleap.cli.main import main
from soundleap.data.latents import LatentCache
from soundleap.data.places import Folder
from soundleap.data.shard_reader import LatentShards
from soundleap.data.shards import caption_hash, write_shards
from soundleap.data.source import open_source
from soundleap.errors import DataError, InputError
from soundleap.training.batches import Batches
from soundleap.training.loop import generator_for, train
from soundleap.training.teacher import TeacherStory

SIZE = 6


@pytest.fixture
def shards(toy: Toy, tmp_path: Path) -> Path:
    write_shards(toy.cache, tmp_path / "shards", shard_size=SIZE, progress=False)
    return tmp_path / "shards"


def in_cache(toy: Toy, source: LatentShards) -> list[int]:
    """Return the cache's index of every example of the shards, by its identity."""
    cache = LatentCache(toy.cache)

    def identity(kept: LatentCache | LatentShards, i: int) -> tuple[object, ...]:
        x_0, _ = kept.latents([i])
        return (*kept.words(list(kept.captions[i])), float(x_0.sum()), x_0.shape[2])

    where = {identity(cache, i): i for i in range(len(cache.lengths))}
    return [where[identity(source, i)] for i in range(len(source.lengths))]


def test_shards_hold_what_the_cache_holds(toy: Toy, shards: Path) -> None:
    cache, source = LatentCache(toy.cache), LatentShards(shards)
    match = in_cache(toy, source)
    assert sorted(match) == list(range(len(cache.lengths))) != match
    for indices in ([0, 7, 3], list(range(len(match)))):
        (x, mask), (y, other) = source.latents(indices), cache.latents([match[i] for i in indices])
        assert torch.equal(x, y)
        assert torch.equal(mask, other)
    for i in range(len(match)):
        mine, theirs = list(source.captions[i]), cache.captions[match[i]]
        assert source.words(mine) == cache.words(theirs)
        one, two = (s.text([s.empty, *c]) for s, c in ((source, mine), (cache, theirs)))
        assert torch.equal(one.embeds, two.embeds)
        assert torch.equal(one.mask, two.mask)
    assert source.words([source.empty]) == [""]
    assert source.vector_shape == cache.vector_shape
    assert source.key == json.loads((Path(toy.cache) / "key.json").read_text())


def test_padding_to_a_given_length(shards: Path) -> None:
    source = LatentShards(shards)
    x, mask = source.latents([0, 1], length=40)
    assert x.shape[2] == mask.shape[1] == 40
    assert source.text([0], length=9).embeds.shape[1] == 9
    with pytest.raises(ValueError, match="does not fit into a length of 1"):
        source.latents([0], length=1)


def test_what_is_written_is_the_same_every_time(toy: Toy, shards: Path, tmp_path: Path) -> None:
    write_shards(toy.cache, tmp_path / "again", shard_size=SIZE, progress=False)
    for path in shards.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()
    before = {path.name: path.stat().st_mtime_ns for path in shards.iterdir()}
    assert not write_shards(toy.cache, shards, shard_size=SIZE, progress=False).fresh
    assert before == {path.name: path.stat().st_mtime_ns for path in shards.iterdir()}
    with pytest.raises(InputError, match="holds shards with other shard_size, seed"):
        write_shards(toy.cache, shards, shard_size=5, seed=1, progress=False)


def test_a_plain_reader_of_tar_files(shards: Path) -> None:
    with tarfile.open(shards / "latents-00001.tar") as tar:
        names = tar.getnames()
        array, about = (tar.extractfile(name) for name in names[:2])
        assert array is not None
        assert about is not None
        values, told = np.load(BytesIO(array.read())), json.loads(about.read())
    assert names[:2] == [f"{SIZE:08d}.latents.npy", f"{SIZE:08d}.json"]
    assert len(names) == 2 * SIZE
    source = LatentShards(shards)
    x, _ = source.latents([SIZE])
    np.testing.assert_array_equal(values.astype(np.float32), x[0].numpy())
    assert told["captions"] == source.words(list(source.captions[SIZE]))
    with tarfile.open(shards / "text-00001.tar") as tar:
        assert f"{caption_hash(told['captions'][0])}.states.npy" in tar.getnames()


def test_the_webdataset_package_reads_them(shards: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    url = str(shards / "latents-{00000..00003}.tar")
    found = list(webdataset.WebDataset(url, shardshuffle=False, empty_check=False).decode())
    source = LatentShards(shards)
    assert [int(sample["__key__"]) for sample in found] == list(range(len(source.lengths)))
    x, _ = source.latents([len(found) - 1])
    np.testing.assert_array_equal(found[-1]["latents.npy"].astype(np.float32), x[0].numpy())
    assert found[3]["json"]["captions"] == source.words(list(source.captions[3]))


class NotedFolder(Folder):
    """A folder that notes what is read."""

    def __init__(self, path: Path):
        super().__init__(path)
        self.noted: list[str] = []

    def read(self, name: str) -> bytes:
        self.noted.append(name)
        return super().read(name)


def test_batches_stay_within_shards_and_read_each_once_an_epoch(shards: Path) -> None:
    sizes = [
        max(path.stat().st_size for path in shards.glob(f"{n}-*")) for n in ("latents", "text")
    ]
    source = LatentShards(shards, memory=sum(sizes))  # room for a shard's two files
    source._place = NotedFolder(shards)
    batches = Batches(source, tokens=60, seed=3, drop_text=0.3)
    groups = source.groups
    assert groups is not None
    seen: list[int] = []
    count = 0
    while len(seen) < len(source.lengths):
        indices = batches(count, generator_for(0, count)).indices
        assert len(groups[indices].unique()) == 1
        seen += indices
        count += 1
    assert sorted(seen) == list(range(len(source.lengths)))
    assert len(groups[seen].unique_consecutive()) == len(source.about.latents)
    assert sorted(source._place.noted) == sorted(path.name for path in shards.glob("*.tar"))


def test_states_are_read_beside_the_latents(shards: Path) -> None:
    for number in range(4):
        source = LatentShards(shards)
        source._place = NotedFolder(shards)
        example = int(source._table.shard.tolist().index(number))
        source.latents([example])
        source.text([source.empty, *source.captions[example]])
        assert source._place.noted == [f"latents-{number:05d}.tar", f"text-{number:05d}.tar"]


def test_memory_is_bounded_and_changes_nothing(shards: Path) -> None:
    small, large = LatentShards(shards, memory=1), LatentShards(shards)
    everything = list(range(len(small.lengths)))
    assert torch.equal(small.latents(everything)[0], large.latents(everything)[0])
    words = list(range(small.about.captions))
    assert torch.equal(small.text(words).embeds, large.text(words).embeds)


@pytest.mark.parametrize("name", ["latents-00002.tar", "text-00002.tar"])
def test_a_lost_or_damaged_shard_is_named(shards: Path, name: str) -> None:
    path = shards / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    everything = list(range(19))

    def read() -> None:
        source = LatentShards(shards)
        source.latents(everything)
        source.text(range(source.about.captions))

    with pytest.raises(DataError, match=f"{name} of .*shards is damaged: its sha256 is "):
        read()
    path.unlink()
    with pytest.raises(DataError, match=f"{name} of .*shards is lost; bring it back, or make"):
        read()


@pytest.mark.parametrize("name", ["latents-00002.tar", "text-00000.tar", "index.safetensors"])
@pytest.mark.parametrize("lost", [False, True])
def test_the_same_command_makes_lost_and_damaged_files_again(
    toy: Toy, shards: Path, name: str, lost: bool, caplog: pytest.LogCaptureFixture
) -> None:
    path = shards / name
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    if lost:
        path.unlink()
    assert write_shards(toy.cache, shards, shard_size=SIZE, progress=False).fresh
    assert path.read_bytes() == whole
    assert f"{name} of {shards} is lost or damaged: all files are made again" in caplog.text
    assert not write_shards(toy.cache, shards, shard_size=SIZE, progress=False).fresh


def test_a_set_without_its_index_or_with_a_foreign_one(shards: Path, tmp_path: Path) -> None:
    table = shards / "index.safetensors"
    whole = table.read_bytes()
    table.write_bytes(whole[:-1])
    with pytest.raises(DataError, match=r"index.safetensors of .* is damaged"):
        open_source(shards)
    table.write_bytes(whole)
    index = shards / "index.json"
    values = json.loads(index.read_text())
    index.write_text(json.dumps({**values, "version": 2}))
    with pytest.raises(InputError, match="has version 2; upgrade soundleap"):
        open_source(shards)
    index.write_text("{}")
    with pytest.raises(InputError, match=r"index.json of .* is not the index of a set of shards"):
        open_source(shards)
    index.unlink()
    with pytest.raises(InputError, match=r"has no index.json: no shards, or not all of them"):
        open_source(shards)
    with pytest.raises(InputError, match="run `soundleap data cache` first"):
        write_shards(tmp_path, tmp_path / "out", progress=False)
    (tmp_path / "key.json").write_text("{")
    with pytest.raises(InputError, match=r"can't read .*key.json"):
        write_shards(tmp_path, tmp_path / "out", progress=False)


@pytest.fixture
def remote() -> Iterator[str]:
    fsspec = pytest.importorskip("fsspec")
    yield "memory://bucket/set"
    fsspec.filesystem("memory").rm("/bucket", recursive=True)


def test_shards_behind_a_url(toy: Toy, shards: Path, remote: str) -> None:
    import fsspec

    write_shards(toy.cache, remote, shard_size=SIZE, progress=False)
    source, local = open_source(remote), LatentShards(shards)
    assert isinstance(source, LatentShards)
    everything = list(range(len(local.lengths)))
    assert torch.equal(source.latents(everything)[0], local.latents(everything)[0])
    assert open_source(f"file://{shards}").words([1]) == local.words([1])
    fsspec.filesystem("memory").rm("/bucket/set/latents-00000.tar")
    with pytest.raises(DataError, match=r"latents-00000.tar of memory://bucket/set is lost"):
        LatentShards(remote).latents(everything)


def test_urls_that_cannot_be_opened() -> None:
    with pytest.raises(InputError, match=r"nonsense://x can't be opened: .*nonsense"):
        open_source("nonsense://x")


def test_training_on_shards_and_going_on(toy: Toy, shards: Path, tmp_path: Path) -> None:
    settings = toy.teacher_settings(
        tmp_path / "straight", cache=str(shards), iterations=5, decay_share=0.0
    )
    train(TeacherStory(settings, progress=False), progress=False)
    parts = replace(settings, run_dir=str(tmp_path / "parts"))
    train(TeacherStory(replace(parts, iterations=2), progress=False), progress=False)
    train(TeacherStory(parts, progress=False), progress=False)
    assert_same_run(tmp_path / "straight", tmp_path / "parts")


def test_a_network_that_fails_is_tried_again(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsspec = pytest.importorskip("fsspec")
    from fsspec.implementations.local import LocalFileSystem

    class Flaky(LocalFileSystem):
        protocol = "flaky"
        failures = 2

        def cat_file(self, path: str, *rest: object, **more: object) -> bytes:
            if Flaky.failures:
                Flaky.failures -= 1
                raise TimeoutError("no answer")
            return super().cat_file(path, *rest, **more)

    fsspec.register_implementation("flaky", Flaky, clobber=True)
    monkeypatch.setattr("soundleap.data.places.PAUSE_IN_S", 0.0)
    source = open_source(f"flaky://{shards}")
    Flaky.failures = 3
    with pytest.raises(DataError, match=r"latents-0000\d.tar of flaky.* \(TimeoutError: no answer"):
        source.latents([0])


def test_the_command(toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["data", "shards", toy.cache, str(out), "--shard-size", "8", "-q"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("20 examples in 3 shards, ")
    assert len(LatentShards(out).lengths) == 20
    assert main(["data", "shards", toy.cache, str(out), "--shard-size", "8", "-q"]) == 0
    assert "(was there)" in capsys.readouterr().out
    assert main(["data", "shards", toy.cache, str(out), "--shard-size", "0", "-q"]) == 2
    assert "shard_size is 0; allowed: 1 to" in capsys.readouterr().err
