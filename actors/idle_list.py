"""The idle activations of a host in order, the longest idle first, threaded through the activations themselves.

Owned by the roster. Adding, removing and the oldest cost the same however many there are; a dict in that order would
cost a hundred bytes a key, and its first entry would be searched for behind all that left before it.
"""

from actors.activation import Activation


class IdleList:
    __slots__ = ("_count", "_newest", "oldest")

    def __init__(self) -> None:
        self.oldest: Activation | None = None
        self._newest: Activation | None = None
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, activation: Activation) -> None:
        """As the newest, wherever it stood before."""
        if activation is self._newest:
            return
        self.remove(activation)
        newest = self._newest
        activation.idle_before = newest
        if newest is None:
            self.oldest = activation
        else:
            newest.idle_after = activation
        self._newest = activation
        self._count += 1

    def remove(self, activation: Activation) -> None:
        """Nothing happens when it is not in the list."""
        before, after = activation.idle_before, activation.idle_after
        if before is None and after is None and activation is not self.oldest:
            return
        if before is None:
            self.oldest = after
        else:
            before.idle_after = after
        if after is None:
            self._newest = before
        else:
            after.idle_before = before
        activation.idle_before = activation.idle_after = None
        self._count -= 1
