"""Training examples: clips cropped, looped, placed and mixed, with captions that still hold.

Example *i* is a function of (pool, plan, seed, i) alone.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from soundleap.audio.loudness import normalise_level
from soundleap.data.manifest import Clip
from soundleap.data.mixing import join_captions, join_in_sequence, mix_together
from soundleap.data.pool import AudioPool

MAX_SECONDS = 10.0
REPEATED = ("{c} several times", "{c} repeatedly", "{c} again and again", "{c} a few times")
FADE = 160


@dataclass(frozen=True)
class Example:
    """A waveform ``[S]`` with the captions that are true for it."""

    id: str
    waveform: Tensor
    captions: tuple[str, ...]


@dataclass(frozen=True)
class ExamplePlan:
    """How many examples to make.

    Attributes:
        variants: examples a clip, by source; ``"*"`` stands for the other sources.
        mixtures: how many two-clip examples.
        favourites: sources from which half of the mixtures take their first clip.
    """

    variants: tuple[tuple[str, int], ...]
    mixtures: int
    favourites: tuple[str, ...] = ()


class ExampleMaker:
    """Makes the examples of a plan from a pool, none longer than `max_seconds`."""

    def __init__(
        self, pool: AudioPool, plan: ExamplePlan, seed: int, *, max_seconds: float = MAX_SECONDS
    ):
        self.pool, self.plan, self.seed, self.max_seconds = pool, plan, seed, max_seconds
        table = dict(plan.variants)
        self._singles = [
            (index, variant)
            for index, entry in enumerate(pool.clips)
            for variant in range(table.get(entry.clip.source, table["*"]))
        ]
        self._favourites = [
            i for i, entry in enumerate(pool.clips) if entry.clip.source in plan.favourites
        ]

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self._singles) + self.plan.mixtures

    def __getitem__(self, index: int) -> Example:
        """Make example `index`."""
        rng = random.Random(f"{self.seed}/{index}")
        if index < len(self._singles):
            clip_index, variant = self._singles[index]
            made = self._single(clip_index, plain=variant == 0, rng=rng)
        else:
            made = self._mixture(index, rng)
        limit = int(self.max_seconds * self.pool.sampling_rate)
        scaled = torch.from_numpy(normalise_level(crop(made.waveform, limit, rng).numpy()))
        gain = 10.0 ** (rng.uniform(-4.0, 0.0) / 20.0)
        return Example(made.id, scaled * gain, made.captions)

    def _single(self, index: int, *, plain: bool, rng: random.Random) -> Example:
        clip = self.pool.clips[index].clip
        waveform = self.pool.waveform(index)
        if not plain:
            waveform = change_speed(waveform, rng.uniform(0.93, 1.08), rng)
        waveform, repeated = self._arrange(clip, waveform, plain=plain, rng=rng)
        captions = tuple(rng.choice(REPEATED).format(c=c) for c in clip.captions[:3])
        return Example(clip.id, waveform, captions if repeated else clip.captions)

    def _arrange(
        self, clip: Clip, waveform: Tensor, *, plain: bool, rng: random.Random
    ) -> tuple[Tensor, bool]:
        """Return the waveform at some length up to 10 s, and whether it was repeated."""
        rate = self.pool.sampling_rate
        limit = round(MAX_SECONDS * rate)
        if clip.kind == "ambience":
            wanted = limit if rng.random() < 0.25 else round(rng.uniform(1.5, MAX_SECONDS) * rate)
            return fit_texture(waveform, wanted, rng), False
        if len(waveform) > limit or (not plain and len(waveform) > 3 * rate and rng.random() < 0.3):
            shortest = min(len(waveform), limit) // 2
            return crop(waveform, rng.randint(shortest, min(len(waveform), limit)), rng), False
        if plain or len(waveform) > 4 * rate:
            return waveform, False
        if clip.kind == "event" and len(waveform) < 2 * rate and rng.random() < 0.4:
            return repeat_event(waveform, rng.randint(2, 5), rate, limit, rng), True
        return place(waveform, round(rng.uniform(1.0, 5.5) * rate), rng), False

    def _mixture(self, index: int, rng: random.Random) -> Example:
        everyone = range(len(self.pool.clips))
        first = (
            rng.choice(self._favourites or everyone) if rng.random() < 0.5 else rng.choice(everyone)
        )
        second = rng.choice(everyone)
        a, b = (self.pool.clips[i].clip for i in (first, second))
        rate = self.pool.sampling_rate
        if rng.random() < 0.6:
            x, y = (
                crop(self.pool.waveform(i), round(rng.uniform(3, 9) * rate), rng)
                for i in (first, second)
            )
            if b.kind == "ambience":
                y = fit_texture(y, max(len(x), 2 * rate), rng)
            waveform = mix_together(x, y, rng.uniform(-9.0, 0.0), rng)
            arrangement = "together"
        else:
            x, y = (
                crop(self.pool.waveform(i), round(rng.uniform(1, 4.8) * rate), rng)
                for i in (first, second)
            )
            waveform = join_in_sequence(x, y, round(rng.uniform(-0.1, 0.3) * rate))
            arrangement = "sequence"
        captions = tuple(
            join_captions(rng.choice(a.captions), rng.choice(b.captions), arrangement, rng)
            for _ in range(3)
        )
        return Example(
            f"mix-{index}-{a.id}-{b.id}", waveform[: round(MAX_SECONDS * rate)], captions
        )


def crop(waveform: Tensor, samples: int, rng: random.Random) -> Tensor:
    """Return a random stretch of at most `samples`, faded over 10 ms at cut ends."""
    if len(waveform) <= samples:
        return waveform
    start = rng.randint(0, len(waveform) - samples)
    piece = waveform[start : start + samples].clone()
    ramp = torch.linspace(0.0, 1.0, FADE)
    piece[:FADE] *= ramp
    piece[-FADE:] *= ramp.flip(0)
    return piece


def fit_texture(waveform: Tensor, samples: int, rng: random.Random) -> Tensor:
    """Crop a steady sound to `samples`, or repeat it with 100 ms cross-fades up to them."""
    while len(waveform) < samples:
        waveform = join_in_sequence(waveform, waveform, -min(1600, len(waveform) // 2))
    start = rng.randint(0, len(waveform) - samples)
    return waveform[start : start + samples]


def place(waveform: Tensor, samples: int, rng: random.Random) -> Tensor:
    """Put a sound into a longer silence, mostly near the beginning; never cuts it."""
    spare = samples - len(waveform)
    if spare <= 0:
        return waveform
    before = round(spare * rng.random() ** 3)
    return functional.pad(waveform, (before, spare - before))


def repeat_event(waveform: Tensor, times: int, rate: int, limit: int, rng: random.Random) -> Tensor:
    """Repeat a short sound with about even gaps."""
    gap = rng.uniform(0.05, 0.8) * rate
    result = waveform
    for _ in range(times - 1):
        longer = join_in_sequence(result, waveform, round(gap * rng.uniform(0.8, 1.2)))
        if len(longer) > limit:
            break
        result = longer
    return result


def change_speed(waveform: Tensor, factor: float, rng: random.Random) -> Tensor:
    """Play faster or slower by linear interpolation (pitch moves with it), half of the time."""
    if rng.random() < 0.5:
        return waveform
    samples = round(len(waveform) / factor)
    return functional.interpolate(waveform[None, None], samples, mode="linear")[0, 0]
