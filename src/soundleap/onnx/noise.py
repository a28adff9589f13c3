"""torch's random numbers on a CPU, from NumPy: the same seed gives the same noise.

torch's CPU generator is the 32-bit Mersenne Twister; a float32 uniform number is the low 24 bits
of a word, and normal numbers are made sixteen at a time by Box and Muller's transform.
Source: Matsumoto and Nishimura (1998); Box and Muller (1958).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.random import MT19937, RandomState
from numpy.typing import NDArray

from soundleap.errors import InputError

Floats = NDArray[np.float32]

_GROUP = 16


class TorchNoise:
    """What ``torch.Generator("cpu").manual_seed(seed)`` would draw, float32."""

    def __init__(self, seed: int) -> None:
        """Seed it; as in torch only the low 32 bits of a seed count.

        Raises:
            InputError: for a seed outside 0 .. 2^64 - 1.
        """
        if not 0 <= seed < 2**64:
            raise InputError(f"seed is {seed}; allowed: 0 to {2**64 - 1}")
        self._bits = MT19937()
        # RandomState's seeding is the generator's own; that of MT19937 stirs the seed first.
        state: Any = RandomState(seed % 2**32).get_state(legacy=False)
        self._bits.state = state

    def rand(self, *shape: int) -> Floats:
        """Draw uniform numbers in [0, 1)."""
        return self._uniform(math.prod(shape)).reshape(shape)

    def randn(self, *shape: int) -> Floats:
        """Draw standard normal numbers, at least sixteen.

        Raises:
            InputError: for fewer than sixteen, which torch draws in another way.
        """
        count = math.prod(shape)
        if count < _GROUP:
            raise InputError(f"shape is {shape}; needed: at least {_GROUP} numbers")
        words = self._uniform(count)
        normal = np.empty_like(words)
        whole = count - count % _GROUP
        normal[:whole] = _box_muller(words[:whole])
        if whole < count:  # the last sixteen are drawn anew, over those that are there
            normal[-_GROUP:] = _box_muller(self._uniform(_GROUP))
        return normal.reshape(shape)

    def _uniform(self, count: int) -> Floats:
        words = self._bits.random_raw(count) & np.uint64(2**24 - 1)
        return words.astype(np.float32) * np.float32(2**-24)


def _box_muller(uniform: Floats) -> Floats:
    """Turn uniform numbers into normal ones: of each sixteen, eight radii and eight angles."""
    groups = uniform.reshape(-1, 2, _GROUP // 2).astype(np.float64)
    radius = np.sqrt(-2.0 * np.log(1.0 - groups[:, 0]))
    angle = 2.0 * math.pi * groups[:, 1]
    both = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    return both.reshape(-1).astype(np.float32)
