"""Batches of cached latents of like length, in an order that depends on (seed, iteration) alone."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from soundleap.data.source import LatentSource
from soundleap.models.text import TextStates


@dataclass(frozen=True)
class LatentBatch:
    """Clean latents ``[B, C, L]``, their mask ``[B, L]``, text states and the captions of these."""

    x_0: Tensor
    mask: Tensor
    text: TextStates
    words: list[str]


TEXT_COST = 8


class Batches:
    """Cuts every epoch into batches of about equal cost.

    An item costs its latent vectors (padding counted) and `TEXT_COST` for its text; a batch costs
    about `tokens` at most. With `equal_lengths` all items of a batch are equally long, for networks
    that know no padding.
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
        self._plans_before: list[int] = [0]

    def __call__(self, iteration: int, generator: torch.Generator) -> LatentBatch:
        """Return the batch of an iteration; the generator chooses captions and drops some."""
        indices = self._indices(iteration)
        x_0, mask = self.cache.latents(indices)
        chosen = [self._caption(i, generator) for i in indices]
        return LatentBatch(x_0, mask, self.cache.text(chosen), self.cache.words(chosen))

    def _caption(self, index: int, generator: torch.Generator) -> int:
        choice, drop = torch.rand(2, generator=generator).tolist()
        options = self.cache.captions[index]
        return self.cache.empty if drop < self.drop_text else options[int(choice * len(options))]

    def _indices(self, iteration: int) -> list[int]:
        while iteration >= self._plans_before[-1]:
            self._epoch = len(self._plans_before) - 1
            self._plan = self._make_plan(self._epoch)
            self._plans_before.append(self._plans_before[-1] + len(self._plan))
        if iteration < self._plans_before[self._epoch]:
            raise ValueError(f"iteration {iteration} asked for after a later epoch had begun")
        return self._plan[iteration - self._plans_before[self._epoch]]

    def _make_plan(self, epoch: int) -> list[list[int]]:
        generator = torch.Generator().manual_seed(self.seed * 100_003 + epoch)
        jitter = torch.rand(len(self.cache.lengths), generator=generator)
        jitter = jitter if self.equal_lengths else jitter * 2.0
        order = (self.cache.lengths + jitter).argsort().tolist()
        batches: list[list[int]] = [[]]
        before = 0
        for index in order:
            length = int(self.cache.lengths[index])
            cost = (length + TEXT_COST) * (len(batches[-1]) + 1)
            other = self.equal_lengths and length != before
            if batches[-1] and (cost > self.tokens or other):
                batches.append([])
            batches[-1].append(index)
            before = length
        return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]
