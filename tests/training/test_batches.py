"""Batches: an order that depends on (seed, iteration) alone, each example once an epoch."""

from __future__ import annotations

from itertools import chain, groupby, pairwise

import pytest
import torch
from toy_runs import Toy

from soundleap.data.latents import LatentCache
from soundleap.training.batches import TEXT_COST, Batches
from soundleap.training.loop import generator_for


@pytest.fixture(scope="module")
def cache(toy: Toy) -> LatentCache:
    return LatentCache(toy.cache)


def make(cache: LatentCache, seed: int = 0, drop_text: float = 0.0) -> Batches:
    return Batches(cache, tokens=60, seed=seed, drop_text=drop_text)


def test_every_epoch_has_every_example_once(cache: LatentCache) -> None:
    batches = make(cache)
    seen: list[list[int]] = []
    for i in range(60):
        seen.append(batches._indices(i))
    ends = batches._plans_before
    epochs = [list(chain.from_iterable(seen[a:b])) for a, b in pairwise(ends) if b <= len(seen)]
    assert len(epochs) > 3
    for epoch in epochs:
        assert sorted(epoch) == list(range(len(cache.lengths)))
    assert epochs[0] != epochs[1]
    lengths = [int(cache.lengths[batch[0]]) for batch in batches._make_plan(0)]
    assert lengths != sorted(lengths)  # batches of like lengths do not come one after another


def test_the_order_depends_on_seed_and_iteration_alone(cache: LatentCache) -> None:
    one, other = make(cache), make(cache)
    far = other(37, generator_for(0, 37))  # straight there, as after a resumption
    for i in range(38):
        here = one(i, generator_for(0, i))
    torch.testing.assert_close(here.x_0, far.x_0, rtol=0, atol=0)
    torch.testing.assert_close(here.text.embeds, far.text.embeds, rtol=0, atol=0)
    assert [make(cache, 0)._indices(i) for i in range(3)] != [
        make(cache, 1)._indices(i) for i in range(3)
    ]


def test_a_batch_costs_about_as_much_as_asked(cache: LatentCache) -> None:
    batches = make(cache)
    for i in range(20):
        batch = batches(i, generator_for(0, i))
        count, _, length = batch.x_0.shape
        assert count == 1 or (length - 2 + TEXT_COST) * count <= 60
        assert (batch.x_0.transpose(1, 2)[~batch.mask] == 0).all()


def test_dropped_texts_are_the_empty_prompt(cache: LatentCache) -> None:
    batch = make(cache, drop_text=1.0)(0, generator_for(0, 0))
    empty = cache.text([cache.empty])
    torch.testing.assert_close(batch.text.embeds, empty.embeds.expand_as(batch.text.embeds))
    assert make(cache, drop_text=0.0)(0, generator_for(0, 0)).text.embeds.shape[1] > 2


def test_every_caption_of_an_example_has_its_turn(cache: LatentCache) -> None:
    batches = make(cache)
    told: dict[int, set[str]] = {}
    for i in range(200):
        batch = batches(i, generator_for(0, i))
        for index, words in zip(batch.indices, batch.words, strict=True):
            told.setdefault(index, set()).add(words)
    assert told == {i: set(cache.words(options)) for i, options in enumerate(cache.captions)}
    assert max(len(options) for options in told.values()) > 1


def test_an_earlier_epoch_comes_again_the_same(cache: LatentCache) -> None:
    batches = make(cache)
    first = batches(0, generator_for(0, 0))
    batches(50, generator_for(0, 50))
    assert batches(0, generator_for(0, 0)).indices == first.indices
    assert batches(50, generator_for(0, 50)).indices == make(cache)._indices(50)


def test_batches_stay_within_the_groups_of_a_source(toy: Toy) -> None:
    cache = LatentCache(toy.cache)
    cache.groups = torch.arange(len(cache.lengths)) % 3
    batches = make(cache)
    orders: list[list[int]] = []
    for epoch in range(4):
        plan = batches._make_plan(epoch)
        assert sorted(chain.from_iterable(plan)) == list(range(len(cache.lengths)))
        groups = [{i % 3 for i in batch} for batch in plan]
        assert all(len(group) == 1 for group in groups)
        runs = [group for group, _ in groupby(next(iter(group)) for group in groups)]
        assert sorted(runs) == [0, 1, 2]  # one after another
        orders.append(runs)
    assert len({tuple(order) for order in orders}) > 1


def test_parts_are_padded_like_the_whole(cache: LatentCache) -> None:
    batch = make(cache)(0, generator_for(0, 0))
    parts = [batch.part(slice(i, i + 1)) for i in range(len(batch))]
    assert [part.words for part in parts] == [[word] for word in batch.words]
    assert [part.indices[0] for part in parts] == batch.indices
    torch.testing.assert_close(torch.cat([part.x_0 for part in parts]), batch.x_0)
    torch.testing.assert_close(torch.cat([part.text.mask for part in parts]), batch.text.mask)


def test_batches_of_one_length_for_networks_that_know_no_padding(cache: LatentCache) -> None:
    batches = Batches(cache, tokens=200, seed=0, drop_text=0.0, equal_lengths=True)
    plan = batches._make_plan(0)
    assert all(len({int(cache.lengths[i]) for i in part}) == 1 for part in plan)
    assert sorted(chain.from_iterable(plan)) == list(range(len(cache.lengths)))
    assert any(len(part) > 1 for part in plan)
