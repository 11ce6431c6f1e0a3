"""What this host has just stored and still owes work for, on its way from the committer to the relay.

A message is stored under a lease of the host that stores it, so its own relay need not look for it, take a lease and
read it back: two commands and a write a message less. Nothing is promised here. What does not fit is dropped and
counted, and so is what waited too long; both are found in storage, by any host's relay, when the lease has run out.
"""

from collections import deque
from collections.abc import Sequence
from typing import Final

from cluster.kernel.clock import Clock
from storage.records import Message

_MESSAGE_BYTES: Final = 600
"""What a message takes besides its text."""


def size_of(message: Message) -> int:
    return _MESSAGE_BYTES + len(message.text)


class Handover:
    """At most `limit` messages and `limit_bytes` of them, oldest first; none is given out more than `keep_ms` after it
    came."""

    def __init__(self, clock: Clock, *, limit: int, limit_bytes: int, keep_ms: int) -> None:
        self._clock = clock
        self._limit = limit
        self._limit_bytes = limit_bytes
        self._bytes = 0
        self._keep_ms = keep_ms
        self._waiting: deque[tuple[int, Message]] = deque()
        self._dropped = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def offer(self, messages: Sequence[Message]) -> None:
        until_ms = self._clock.now_ms() + self._keep_ms
        for message in messages:
            size = size_of(message)
            if len(self._waiting) >= self._limit or self._bytes + size > self._limit_bytes:
                self._dropped += 1
                continue
            self._bytes += size
            self._waiting.append((until_ms, message))

    def take(self, most: int) -> list[Message]:
        now_ms = self._clock.now_ms()
        taken: list[Message] = []
        while self._waiting and len(taken) < most:
            until_ms, message = self._waiting.popleft()
            self._bytes -= size_of(message)
            if until_ms > now_ms:
                taken.append(message)
            else:
                self._dropped += 1
        return taken

    def statistics(self) -> dict[str, int]:
        return {
            "handover_waiting": len(self._waiting),
            "handover_limit": self._limit,
            "handover_bytes": self._bytes,
            "handover_dropped": self._dropped,
        }
