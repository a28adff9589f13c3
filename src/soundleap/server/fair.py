"""A queue that serves its clients in turn."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """First come, first served for each client; clients take turns.

    A client that asks for much waits behind its own requests, not in front of the others'.
    """

    def __init__(self) -> None:
        """Start empty."""
        self._waiting: OrderedDict[str, deque[T]] = OrderedDict()  # the next client comes first

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def __iter__(self) -> Iterator[T]:
        for items in self._waiting.values():
            yield from items

    def count(self, client: str) -> int:
        """Give the number of a client's items."""
        return len(self._waiting.get(client, ()))

    def push(self, client: str, item: T) -> None:
        """Add an item behind the client's others."""
        self._waiting.setdefault(client, deque()).append(item)

    def remove(self, client: str, item: T) -> bool:
        """Take an item out; tells whether it was there."""
        items = self._waiting.get(client)
        if items is None or item not in items:
            return False
        items.remove(item)
        self._tidy(client)
        return True

    def position(self, client: str, item: T) -> int:
        """Give how many items come before one; 0 if it does not wait any more."""
        items = self._waiting.get(client, deque())
        if item not in items:
            return 0
        before = place = items.index(item)
        ahead = True
        for other, theirs in self._waiting.items():
            if other == client:
                ahead = False
            else:
                before += min(len(theirs), place + ahead)
        return before

    def take(self, most: int, fits: Callable[[T, T], bool]) -> list[T]:
        """Take the next item and, in turn from all clients, others that can go with it.

        Only the first item's client loses its turn: what rides along delays nobody.

        Args:
            most: how many items at most.
            fits: whether an item (second) can share a batch with the next one (first).
        """
        if not self._waiting:
            return []
        client, items = next(iter(self._waiting.items()))
        self._waiting.move_to_end(client)
        taken = [items.popleft()]
        self._tidy(client)
        found = True
        while found and len(taken) < most:
            found = False
            for other in list(self._waiting):
                if len(taken) < most and (more := self._take_fitting(other, taken[0], fits)):
                    taken.append(more[0])
                    found = True
        return taken

    def clear(self) -> list[T]:
        """Take everything out."""
        items = list(self)
        self._waiting.clear()
        return items

    def _take_fitting(self, client: str, first: T, fits: Callable[[T, T], bool]) -> list[T]:
        items = self._waiting[client]
        for item in items:
            if fits(first, item):
                items.remove(item)
                self._tidy(client)
                return [item]
        return []

    def _tidy(self, client: str) -> None:
        if not self._waiting[client]:
            del self._waiting[client]
