"""What this host has just stored and still owes work for, on its way from the committer to the relay.

A message is stored under a lease of the host that stores it, so its own relay need not look for it, take a lease and
read it back: two commands and a write a message less. Nothing is promised here. What does not fit is dropped and
counted, and so is what waited too long; both are found in storage, by any host's relay, when the lease has run out.
"""

from collections import deque
from collections.abc import Sequence
from itertools import islice

from cluster.kernel.clock import Clock
from storage.records import Message


class Handover:
    """At most `limit` messages, oldest first; none is given out more than `keep_ms` after it came."""

    def __init__(self, clock: Clock, limit: int, keep_ms: int) -> None:
        self._clock = clock
        self._limit = limit
        self._keep_ms = keep_ms
        self._waiting: deque[tuple[int, Message]] = deque()
        self._dropped = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def offer(self, messages: Sequence[Message]) -> None:
        room = self._limit - len(self._waiting)
        until_ms = self._clock.now_ms() + self._keep_ms
        self._waiting.extend((until_ms, message) for message in islice(messages, room))
        self._dropped += max(0, len(messages) - room)

    def take(self, most: int) -> list[Message]:
        now_ms = self._clock.now_ms()
        taken: list[Message] = []
        while self._waiting and len(taken) < most:
            until_ms, message = self._waiting.popleft()
            if until_ms > now_ms:
                taken.append(message)
            else:
                self._dropped += 1
        return taken

    def statistics(self) -> dict[str, int]:
        return {
            "handover_waiting": len(self._waiting),
            "handover_limit": self._limit,
            "handover_dropped": self._dropped,
        }
