"""The inboxes and output gates of all keys together: how much waits, where, and when it is too much.

The runner moves items in and out through it. It promises that the counts are exact and the bounds hold: per key and in
total. Order within a key is first in, first out; it never decides anything.
"""

from collections import deque
from collections.abc import Iterator

from actors.activation import Activation, Item
from actors.limits import HostLimits
from cluster.kernel.errors import OVERLOADED, FlowError


class Inboxes:
    def __init__(self, limits: HostLimits) -> None:
        self._limits = limits
        self._busy: set[Activation] = set()
        """Keys with anything waiting."""
        self.waiting = 0
        """Items in inboxes and gates."""
        self.overloaded = 0
        self.highest = 0

    def check_room(self, activation: Activation) -> None:
        """Raises FlowError OVERLOADED when one more would be too much for the key or for the host."""
        if activation.waiting >= self._limits.max_waiting_per_key or self.waiting >= self._limits.max_waiting:
            self.overloaded += 1
            raise FlowError(OVERLOADED, retry_after_ms=self._limits.retry_after_ms)

    # --- inbox --------------------------------------------------------------------------------------------------------

    def enqueue(self, item: Item) -> None:
        item.activation.enqueue(item)
        self._added(item.activation)

    def put_back(self, activation: Activation, items: list[Item]) -> None:
        """In front of the inbox, in this order."""
        activation.put_back(items)
        self._added(activation, len(items))

    def take_first(self, activation: Activation) -> Item:
        inbox = activation.inbox
        assert inbox
        item = inbox.popleft()
        if not inbox:
            activation.inbox = None
        self._removed(activation)
        return item

    def take_all(self, activation: Activation) -> list[Item]:
        items = activation.take_inbox()
        self._removed(activation, len(items))
        return items

    # --- gate ---------------------------------------------------------------------------------------------------------

    def hold(self, item: Item) -> None:
        """Behind the key's output gate."""
        activation = item.activation
        if activation.pending is None:
            activation.pending = deque()
        activation.pending.append(item)
        self._added(activation)

    def let_go_first(self, activation: Activation) -> Item:
        assert activation.pending
        item = activation.pending.popleft()
        if not activation.pending:
            activation.pending = None
        self._removed(activation)
        return item

    def take_held(self, activation: Activation) -> list[Item]:
        items = activation.take_pending()
        self._removed(activation, len(items))
        return items

    # --- counts -------------------------------------------------------------------------------------------------------

    def _added(self, activation: Activation, count: int = 1) -> None:
        self.waiting += count
        if self.waiting > self.highest:
            self.highest = self.waiting
        self._busy.add(activation)

    def _removed(self, activation: Activation, count: int = 1) -> None:
        self.waiting -= count
        if activation.inbox is None and activation.pending is None:
            self._busy.discard(activation)

    def waiting_items(self) -> Iterator[Item]:
        for activation in tuple(self._busy):
            yield from tuple(activation.inbox or ())
            yield from tuple(activation.pending or ())

    def statistics(self) -> dict[str, int]:
        return {
            "busy_keys": len(self._busy),
            "waiting": self.waiting,
            "waiting_highest": self.highest,
            "overloaded": self.overloaded,
        }
