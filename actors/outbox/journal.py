"""What this host has stored that still owes work, in the order in which it was stored: pure, without I/O.

A host writes its messages one batch after the other, so those that owe form one sequence, the host's journal, and what
is worked out is told by one number: everything up to it. A message carries its journal and its number from the moment
it is stored, which is what others find it by if the host dies. The newest ones are kept here in memory for the relay;
what does not fit, or may have been stored without an answer, is a gap that the relay reads back from storage.
"""

from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple

from storage.records import Debt, Message, OwedMessage

_MESSAGE_BYTES: Final = 600
"""What a message takes besides its text."""


def size_of(message: Message) -> int:
    return _MESSAGE_BYTES + len(message.text)


class Gap(NamedTuple):
    """Numbers greater than `after`, up to and with `until`, that only storage knows."""

    after: int
    until: int


class Journal:
    """At most `limit` messages and `limit_bytes` of them in memory. In the order of their numbers there are: what is
    settled, perhaps a gap, the messages in memory, and perhaps more that did not fit behind them."""

    def __init__(self, journal_id: str, *, limit: int, limit_bytes: int) -> None:
        self.id = journal_id
        self._limit = limit
        self._limit_bytes = limit_bytes
        self._last = 0
        self._settled = 0
        self._gap_until = 0
        self._waiting: deque[OwedMessage] = deque()
        self._bytes = 0
        self._lost_until = 0
        self._dropped = 0

    @property
    def settled(self) -> int:
        """Nothing up to this number owes any more in this journal's name."""
        return self._settled

    def number(self, owed: Sequence[bool]) -> list[Debt | None]:
        """Called for each try to store these, which must have an answer, or be lost, before the next begins."""
        debts: list[Debt | None] = []
        for owes in owed:
            self._last += owes
            debts.append(Debt(self.id, self._last) if owes else None)
        return debts

    def stored(self, messages: Sequence[Message], debts: Sequence[Debt | None]) -> None:
        """These are durable."""
        for message, debt in zip(messages, debts, strict=True):
            if debt is not None:
                self._keep(OwedMessage(message, debt.number))

    def _keep(self, owed: OwedMessage) -> None:
        size = size_of(owed.message)
        if self._lost_until or len(self._waiting) >= self._limit or self._bytes + size > self._limit_bytes:
            self._lost_until = owed.number
            self._dropped += 1
            return
        self._waiting.append(owed)
        self._bytes += size

    def lose(self) -> None:
        """Whether what was numbered last is stored will never be known here."""
        self._lost_until = self._last

    def next(self, most: int) -> list[OwedMessage] | Gap:
        """What is to be worked out next, an empty list when nothing is: `settle` says that it is done."""
        if not self._waiting and self._gap_until <= self._settled:
            self._gap_until, self._lost_until = max(self._lost_until, self._settled), 0
        if self._gap_until > self._settled:
            return Gap(self._settled, self._gap_until)
        return [self._waiting[index] for index in range(min(most, len(self._waiting)))]

    def settle(self, number: int) -> None:
        """Everything up to it is worked out."""
        self._settled = max(self._settled, number)
        while self._waiting and self._waiting[0].number <= self._settled:
            self._bytes -= size_of(self._waiting.popleft().message)

    def statistics(self) -> dict[str, int]:
        return {
            "handover_waiting": len(self._waiting),
            "handover_limit": self._limit,
            "handover_bytes": self._bytes,
            "handover_dropped": self._dropped,
            "journal_unsettled": self._last - self._settled,
        }
