"""Batches for the text-audio model: clips and mixtures of two, each with one of its captions."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from soundleap.data.mels import MelSet
from soundleap.data.mixing import Arrangement, join_captions
from soundleap.data.padding import pad_rows
from soundleap.models.seams import LatentCodec
from soundleap.training.mel_augment import (
    FLOOR,
    change_colour,
    crop,
    hide,
    through_codec,
    together,
)

UNIT = 8
"""Frames that a crop's length is a multiple of, as codecs need."""
LEVELS_IN_DB = (-8.0, 0.0)
SHORTER_SHARE = 0.3
"""Items that are cut shorter than their batch, to learn short sounds."""
SHORTEST_FRAMES = 32


@dataclass(frozen=True)
class Mixture:
    """Two clips by number, and how they are joined."""

    a: int
    b: int
    arrangement: Arrangement
    level_in_db: float
    caption: str


@dataclass(frozen=True)
class ClapBatch:
    """What a step reads.

    Attributes:
        mel: ``[B, M, F]``.
        mask: ``[B, F]`` bool, True at frames.
        texts: ``[B]``, number of each item's text.
        groups: ``[B]``, equal where sounds are described by the same captions.
    """

    mel: Tensor
    mask: Tensor
    texts: Tensor
    groups: Tensor


def draw_mixtures(mels: MelSet, count: int, seed: int) -> list[Mixture]:
    """Draw pairs of clips with one sentence for both; a function of clips, count and seed."""
    rng = random.Random(f"{seed} mixtures")
    return [_mixture(mels, rng) for _ in range(count)]


def _mixture(mels: MelSet, rng: random.Random) -> Mixture:
    a, b = rng.randrange(len(mels)), rng.randrange(len(mels))
    arrangement: Arrangement = "together" if rng.random() < 0.7 else "sequence"
    first, second = (rng.choice(mels.clips[i].captions) for i in (a, b))
    caption = join_captions(first, second, arrangement, rng)
    return Mixture(a, b, arrangement, rng.uniform(*LEVELS_IN_DB), caption)


class ClapData:
    """Clips, mixtures and their texts.

    Attributes:
        texts: every caption once; batches name them by number.
    """

    def __init__(self, mels: MelSet, mixtures: Sequence[Mixture]) -> None:
        self.mels = mels
        self.mixtures = mixtures
        words = [text for clip in mels.clips for text in clip.captions]
        words += [mixture.caption for mixture in mixtures]
        self.texts = list(dict.fromkeys(words))
        number = {text: i for i, text in enumerate(self.texts)}
        self._captions = [[number[text] for text in clip.captions] for clip in mels.clips]
        self._mixed_captions = [number[mixture.caption] for mixture in mixtures]
        names = {captions: i for i, captions in enumerate({c.captions: 0 for c in mels.clips})}
        self._groups = [names[clip.captions] for clip in mels.clips]
        sizes = Counter(self._groups)
        self._weights = torch.tensor([sizes[group] ** -0.5 for group in self._groups])

    def draw(
        self,
        batch_size: int,
        mixture_share: float,
        frames: tuple[int, int],
        codec: tuple[LatentCodec, float] | None,
        generator: torch.Generator,
    ) -> ClapBatch:
        """Draw a batch, all changes applied.

        Args:
            batch_size: items B; fewer where there are fewer clips.
            mixture_share: of the items, 0 to 1.
            frames: bounds of the batch's longest crop.
            codec: round trips of some items, and their share.
            generator: of every draw.
        """
        low, high = frames
        u = float(torch.rand((), generator=generator))
        most = math.ceil(low * (high / low) ** u / UNIT) * UNIT
        mixed = round(mixture_share * batch_size) if self.mixtures else 0
        singles = min(batch_size - mixed, len(self.mels))
        picks = torch.multinomial(self._weights, singles, generator=generator).tolist()
        pairs = torch.randint(len(self.mixtures) or 1, (mixed,), generator=generator).tolist()
        rows = [self._single(i, most, generator) for i in picks]
        rows += [self._pair(self.mixtures[k], most, generator) for k in pairs]
        groups = [self._groups[i] for i in picks] + [-1 - k for k in pairs]
        texts = [self._text(i, generator) for i in picks] + [self._mixed_captions[k] for k in pairs]
        return _changed(rows, torch.tensor(texts), torch.tensor(groups), codec, generator)

    def _text(self, index: int, generator: torch.Generator) -> int:
        own = self._captions[index]
        return own[int(torch.randint(len(own), (), generator=generator))]

    def _single(self, index: int, most: int, generator: torch.Generator) -> Tensor:
        draw, place = torch.rand(2, generator=generator).tolist()
        frames = most if draw > SHORTER_SHARE else _between(SHORTEST_FRAMES, most, place)
        return crop(self.mels.mel(index), frames, generator)

    def _pair(self, mixture: Mixture, most: int, generator: torch.Generator) -> Tensor:
        apart = mixture.arrangement == "sequence"
        a, b = (
            crop(self.mels.mel(i), most // 2 if apart else most, generator)
            for i in (mixture.a, mixture.b)
        )
        if apart:
            return torch.cat([a, b], dim=1)
        return together(a, b, mixture.level_in_db, generator)


def _between(low: int, high: int, place: float) -> int:
    return round(low + max(0, high - low) * place)


def _changed(
    rows: Sequence[Tensor],
    texts: Tensor,
    groups: Tensor,
    codec: tuple[LatentCodec, float] | None,
    generator: torch.Generator,
) -> ClapBatch:
    longest = max(row.shape[1] for row in rows)
    padded, mask = pad_rows([row.T - FLOOR for row in rows], math.ceil(longest / UNIT) * UNIT)
    mel = change_colour(padded.transpose(1, 2) + FLOOR, generator)
    if codec is not None:
        mel = through_codec(mel, *codec, generator)
    return ClapBatch(hide(mel, mask, generator), mask, texts, groups)
