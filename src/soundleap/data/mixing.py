"""Two clips in one, with one sentence for both."""

from __future__ import annotations

import random
from typing import Literal

import torch
from torch import Tensor

Arrangement = Literal["together", "sequence"]

TOGETHER = (
    "{a} while {b}",
    "{a} and {b}",
    "{a} with {b} in the background",
    "{a} as {b}",
    "{a} with {b}",
    "{b} while {a}",
)
SEQUENCE = (
    "{a} followed by {b}",
    "{a} and then {b}",
    "{a} then {b}",
    "first {a} then {b}",
    "{b} after {a}",
)


def join_captions(a: str, b: str, arrangement: Arrangement, rng: random.Random) -> str:
    """Join two captions as people do, "a dog barks while rain falls".

    Args:
        a: caption of the first (or louder) clip.
        b: caption of the second one.
        arrangement: whether they sound together or one after the other.
        rng: chooses the sentence form.
    """
    forms = TOGETHER if arrangement == "together" else SEQUENCE
    return rng.choice(forms).format(a=a, b=b)


def mix_together(a: Tensor, b: Tensor, level_in_db: float, rng: random.Random) -> Tensor:
    """Put the shorter waveform somewhere inside the longer one.

    Args:
        a: ``[S]``, the foreground.
        b: ``[S]``, the other, scaled by `level_in_db` before mixing.
        level_in_db: usually -10 to 0.
        rng: chooses the place.
    """
    b = b * 10.0 ** (level_in_db / 20.0)
    long, short = (a, b) if len(a) >= len(b) else (b, a)
    start = rng.randint(0, len(long) - len(short))
    mixed = long.clone()
    mixed[start : start + len(short)] += short
    return mixed


def join_in_sequence(a: Tensor, b: Tensor, gap: int) -> Tensor:
    """Return a, `gap` samples of silence (or of 20 ms overlap where negative), then b."""
    if gap >= 0:
        return torch.cat([a, torch.zeros(gap), b])
    fade = min(-gap, len(a), len(b))
    ramp = torch.linspace(0.0, 1.0, fade)
    crossed = a[len(a) - fade :] * (1 - ramp) + b[:fade] * ramp
    return torch.cat([a[: len(a) - fade], crossed, b[fade:]])
