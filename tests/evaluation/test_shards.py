from __future__ import annotations

import dataclasses

import pytest
from evaluation_sets import QUICK, numbers
from toy_embedder import ToyEmbedder

from soundleap.errors import InputError, SoundleapError
from soundleap.evaluation.cache import FeatureCache
from soundleap.evaluation.collect import Shard
from soundleap.evaluation.run import gather
from soundleap.evaluation.settings import Matching
from soundleap.evaluation.shards import merge_shards, parse_shard, write_shard


def make_shards(sets, folder, count: int) -> None:
    generated, reference = (part / "manifest.jsonl" for part in sets)
    settings = dataclasses.replace(QUICK, label_set="esc10")
    for index in range(count, 0, -1):
        shard = Shard(index, count)
        collected = gather(
            generated,
            reference,
            settings,
            FeatureCache(folder / "cache"),
            matching=Matching(),
            embedders=[ToyEmbedder()],
            shard=shard,
        )
        write_shard(collected, shard, folder)


@pytest.mark.parametrize("count", [1, 3])
def test_merged_shards_are_the_whole_to_the_bit(record, sets, tmp_path, count: int):
    make_shards(sets, tmp_path, count)
    merged = merge_shards([tmp_path], tmp_path / "cache")
    assert numbers(merged) == numbers(record)
    assert merged.settings_hash == record.settings_hash


def test_merging_refuses_what_does_not_belong_together(sets, tmp_path):
    make_shards(sets, tmp_path, 2)
    with pytest.raises(InputError, match=r"no shard-\*-of-\*\.json"):
        merge_shards([tmp_path / "cache"], tmp_path / "cache")
    with pytest.raises(InputError, match=r"there twice: \[1, 2\]"):
        merge_shards([tmp_path, tmp_path], tmp_path / "cache")
    with pytest.raises(SoundleapError, match="not in the cache"):
        merge_shards([tmp_path], tmp_path / "other")
    path = tmp_path / "shard-2-of-2.json"
    text = path.read_text()
    path.write_text(text.replace('"bootstrap": 12', '"bootstrap": 13'))
    with pytest.raises(InputError, match="shard 2 was made with another settings"):
        merge_shards([tmp_path], tmp_path / "cache")
    path.unlink()
    with pytest.raises(InputError, match=r"shards are missing: \[2\]"):
        merge_shards([tmp_path], tmp_path / "cache")


def test_shards_are_named_by_part_and_count():
    assert parse_shard("2/8") == Shard(2, 8)
    for text in ("2", "a/b", "0/3", "4/3", "1/0", "-1/3"):
        with pytest.raises(InputError, match="shard"):
            parse_shard(text)
