"""Batches of latents of like length, in an order that depends on (seed, clips seen) alone.

A batch is the whole of what one step learns from. Processes and micro-batches take their share of
its items afterwards, so that neither has a say in what is learnt.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from soundleap.data.source import LatentSource
from soundleap.models.text import TextStates


@dataclass(frozen=True)
class LatentBatch:
    """Clean latents with their captions.

    Attributes:
        x_0: ``[B, C, L(, H)]``.
        mask: ``[B, L]``, True where there is sound; None where all items are of one length.
        text: states of the captions.
        words: the captions.
        indices: which examples of the source these are.
    """

    x_0: Tensor
    mask: Tensor | None
    text: TextStates
    words: list[str]
    indices: list[int]

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self.x_0)

    def part(self, items: slice) -> LatentBatch:
        """Return some of the items, padded like all of them."""
        return LatentBatch(
            self.x_0[items],
            None if self.mask is None else self.mask[items],
            TextStates(self.text.embeds[items], self.text.mask[items]),
            self.words[items],
            self.indices[items],
        )


TEXT_COST = 8


class Batches:
    """Cuts every epoch into batches of about equal cost.

    An item costs its latent vectors (padding counted) and `TEXT_COST` for its text; a batch costs
    about `tokens` at most. Batches stay within the groups of a source; groups come one after
    another, in another order in every epoch.

    Args:
        cache: where latents and text states are.
        tokens: cost of a batch.
        seed: of the order.
        drop_text: share of items whose caption becomes the empty one.
        equal_lengths: whether a batch holds one length only and has no mask, for networks that
            know no padding.
    """

    def __init__(
        self,
        cache: LatentSource,
        *,
        tokens: int,
        seed: int,
        drop_text: float,
        equal_lengths: bool = False,
    ):
        self.cache, self.tokens, self.seed, self.drop_text = cache, tokens, seed, drop_text
        self.equal_lengths = equal_lengths
        self._epoch = -1
        self._plan: list[list[int]] = []
        self._items_before: list[int] = []
        self._plans_before: list[int] = [0]

    def __call__(self, iteration: int, generator: torch.Generator) -> LatentBatch:
        """Return the batch of an iteration; the generator chooses captions and drops some."""
        indices = self._indices(iteration)
        x_0, mask = self.cache.latents(indices)
        chosen = [self._caption(i, generator) for i in indices]
        return LatentBatch(
            x_0,
            None if self.equal_lengths else mask,
            self.cache.text(chosen),
            self.cache.words(chosen),
            indices,
        )

    def clips_before(self, iteration: int) -> int:
        """Count the items of all batches before an iteration."""
        self._indices(iteration)
        in_epoch = self._items_before[iteration - self._plans_before[self._epoch]]
        return self._epoch * len(self.cache.lengths) + in_epoch

    def _caption(self, index: int, generator: torch.Generator) -> int:
        choice, drop = torch.rand(2, generator=generator).tolist()
        options = self.cache.captions[index]
        return self.cache.empty if drop < self.drop_text else options[int(choice * len(options))]

    def _indices(self, iteration: int) -> list[int]:
        while iteration >= self._plans_before[-1]:
            self._go_to(len(self._plans_before) - 1)
            self._plans_before.append(self._plans_before[-1] + len(self._plan))
        epoch = bisect_right(self._plans_before, iteration) - 1
        if epoch != self._epoch:  # an earlier one, to be looked at
            self._go_to(epoch)
        return self._plan[iteration - self._plans_before[epoch]]

    def _go_to(self, epoch: int) -> None:
        self._epoch, self._plan = epoch, self._make_plan(epoch)
        self._items_before = [0, *accumulate(len(batch) for batch in self._plan)]

    def _make_plan(self, epoch: int) -> list[list[int]]:
        generator = torch.Generator().manual_seed(self.seed * 100_003 + epoch)
        jitter = torch.rand(len(self.cache.lengths), generator=generator)
        mixing = 1.0 if self.equal_lengths else 2.0  # neighbours in length may change places
        order = (self.cache.lengths + jitter * mixing).argsort(stable=True)
        plan: list[list[int]] = []
        for members in self._groups(order, generator):
            batches = self._cut(members)
            shuffled = torch.randperm(len(batches), generator=generator).tolist()
            plan += [batches[i] for i in shuffled]
        return plan

    def _groups(self, order: Tensor, generator: torch.Generator) -> list[list[int]]:
        """Part examples by group, in an order drawn anew."""
        if self.cache.groups is None:
            return [order.tolist()]
        numbers = self.cache.groups[order]
        names = self.cache.groups.unique()
        drawn = names[torch.randperm(len(names), generator=generator)]
        return [order[numbers == name].tolist() for name in drawn]

    def _cut(self, order: list[int]) -> list[list[int]]:
        """Cut examples, ordered by length, into batches."""
        batches: list[list[int]] = [[]]
        for index in order:
            length = int(self.cache.lengths[index])
            cost = (length + TEXT_COST) * (len(batches[-1]) + 1)
            other = (
                self.equal_lengths
                and batches[-1]
                and (length != int(self.cache.lengths[batches[-1][0]]))
            )
            if batches[-1] and (cost > self.tokens or other):
                batches.append([])
            batches[-1].append(index)
        return batches
