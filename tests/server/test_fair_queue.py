from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from soundleap.server.fair import FairQueue


def _filled(text: str) -> FairQueue[str]:
    """A queue of items like a1, a2, b1: a client's letter and a number."""
    queue: FairQueue[str] = FairQueue()
    for item in text.split():
        queue.push(item[0], item)
    return queue


def _never(first: str, other: str) -> bool:
    return False


def _always(first: str, other: str) -> bool:
    return True


def test_clients_take_turns_and_keep_their_own_order():
    queue = _filled("a1 a2 a3 b1 c1 c2")

    taken = [queue.take(1, _never)[0] for _ in range(6)]

    assert taken == ["a1", "b1", "c1", "a2", "c2", "a3"]
    assert queue.take(1, _never) == []


def test_a_batch_takes_what_fits_from_all_clients():
    queue = _filled("a1 a2 b1 b2 c1")

    assert queue.take(4, _always) == ["a1", "b1", "c1", "a2"]
    assert queue.take(4, _always) == ["b2"]


def test_riding_along_costs_no_turn():
    queue = _filled("a1 b1 b2 a2")

    assert queue.take(2, lambda first, other: other == "b1") == ["a1", "b1"]
    assert queue.take(1, _never) == ["b2"]


def test_what_does_not_fit_stays_in_its_place():
    queue = _filled("a1 a2 a3")

    assert queue.take(3, lambda first, other: other == "a3") == ["a1", "a3"]
    assert list(queue) == ["a2"]


def test_items_can_be_taken_out_again():
    queue = _filled("a1 a2 b1")

    assert queue.remove("a", "a1")
    assert not queue.remove("a", "a1")
    assert queue.remove("b", "b1")
    assert (len(queue), queue.count("a"), queue.count("b")) == (1, 1, 0)
    assert queue.clear() == ["a2"]
    assert len(queue) == 0


@settings(deadline=None, max_examples=60)
@given(st.lists(st.sampled_from("abc"), max_size=12), st.integers(0, 12))
def test_the_position_is_the_number_of_items_that_come_before(clients: list[str], taken: int):
    queue: FairQueue[int] = FairQueue()
    for item, client in enumerate(clients):
        queue.push(client, item)
    for _ in range(taken):
        queue.take(1, _never)  # pyright: ignore[reportArgumentType]
    positions = {item: queue.position(clients[item], item) for item in queue}

    order = [queue.take(1, _never)[0] for _ in range(len(queue))]  # pyright: ignore[reportArgumentType]

    assert positions == {item: place for place, item in enumerate(order)}
    assert all(queue.position(clients[item], item) == 0 for item in order)
