from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soundleap.errors import InputError
from soundleap.offline import Shard, check_seeds
from soundleap.requests import Request


@given(total=st.integers(0, 300), count=st.integers(1, 40))
def test_shards_hold_every_position_once(total: int, count: int) -> None:
    shares = [Shard(i, count).positions(total) for i in range(1, count + 1)]
    assert sorted(p for share in shares for p in share) == list(range(total))
    sizes = [len(share) for share in shares]
    assert max(sizes) - min(sizes) <= 1


def test_shards_are_read() -> None:
    assert Shard.parse(" 2/3 ") == Shard(2, 3)
    assert str(Shard(2, 3)) == "2/3"


@pytest.mark.parametrize(
    "text", ["", "1", "0/2", "3/2", "1/0", "-1/2", "1/2/3", "a/b", "1/999999", "١/٢"]
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="allowed: i/n, for example 1/4"):
        Shard.parse(text)


def test_seeds_are_needed() -> None:
    requests = [Request("rain", seed=1), Request("wind")]
    check_seeds(requests, 0)
    check_seeds(requests[:1], None)
    with pytest.raises(InputError, match="prompt 2 has no seed"):
        check_seeds(requests, None)
