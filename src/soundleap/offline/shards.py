"""Shares of a list."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from soundleap.errors import InputError
from soundleap.requests import Request

MAX_SHARDS = 100_000


@dataclass(frozen=True)
class Shard:
    """One of `count` shares of a list, which hold every position once.

    Attributes:
        index: 1 to count.
        count: how many there are.
    """

    index: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read ``i/n``.

        Raises:
            InputError: for anything but 1/n to n/n.
        """
        found = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text.strip())
        index, count = (int(found.group(1)), int(found.group(2))) if found else (0, 0)
        if not 1 <= index <= count <= MAX_SHARDS:
            raise InputError(
                f"shard is {text!r}; allowed: i/n, for example 1/4, with i from 1 to n and n up to "
                f"{MAX_SHARDS}"
            )
        return cls(index, count)

    def positions(self, total: int) -> range:
        """Give this share of the positions 0 to total - 1: every count-th one.

        Shares of neighbours are alike in length and work, however the list is ordered.
        """
        return range(self.index - 1, total, self.count)

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


def check_seeds(requests: Sequence[Request], seed: int | None) -> None:
    """Refuse a list whose seeds would be drawn: every run of it would make other sounds.

    Raises:
        InputError: naming the first request without a seed, if `seed` is None.
    """
    if seed is not None:
        return
    for i, request in enumerate(requests):
        if request.seed is None:
            raise InputError(
                f"prompt {i + 1} has no seed, and one that is drawn differs from run to run; give "
                "--seed, or a seed in each line of a .jsonl file"
            )
