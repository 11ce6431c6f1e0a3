"""The way from the committer to the relay: bounded, in order, and never the only place where a message is."""

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from actors.outbox.handover import Handover, size_of
from cluster.kernel.clock import ManualClock
from storage.records import Message

LIMIT, LIMIT_BYTES, KEEP_MS = 5, 4_000, 1_000


def message(seq: int, characters: int) -> Message:
    text = "x" * characters
    return Message(
        id=f"{seq:024x}", room_id="r", seq=seq, epoch=1, user_id="u", text=text, at_ms=0, client_message_id=str(seq)
    )


@dataclass
class Expected:
    """The same by the book: a list, looked through each time."""

    waiting: list[tuple[int, Message]] = field(default_factory=list)
    dropped: int = 0

    @property
    def bytes(self) -> int:
        return sum(size_of(message) for _, message in self.waiting)

    def offer(self, messages: list[Message], now_ms: int) -> None:
        for one in messages:
            if len(self.waiting) < LIMIT and self.bytes + size_of(one) <= LIMIT_BYTES:
                self.waiting.append((now_ms + KEEP_MS, one))
            else:
                self.dropped += 1

    def take(self, most: int, now_ms: int) -> list[Message]:
        taken: list[Message] = []
        while self.waiting and len(taken) < most:
            until_ms, one = self.waiting.pop(0)
            if until_ms > now_ms:
                taken.append(one)
            else:
                self.dropped += 1
        return taken


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("offer"), st.integers(0, 8)),
        st.tuples(st.just("take"), st.integers(0, 8)),
        st.tuples(st.just("wait"), st.integers(0, 1_500)),
    ),
    max_size=30,
)


@given(STEPS)
def test_what_was_offered_comes_out_once_in_order_and_in_time(steps: list[tuple[str, int]]) -> None:
    clock, expected, seq = ManualClock(), Expected(), 0
    handover = Handover(clock, limit=LIMIT, limit_bytes=LIMIT_BYTES, keep_ms=KEEP_MS)
    for name, number in steps:
        if name == "offer":
            new = [message(one, one * 37 % 1_500) for one in range(seq, seq + number)]
            seq += number
            handover.offer(new)
            expected.offer(new, clock.now_ms())
        elif name == "take":
            assert handover.take(number) == expected.take(number, clock.now_ms())
        else:
            clock.advance(number / 1_000)
        assert len(handover) == len(expected.waiting) <= LIMIT
        figures = handover.statistics()
        assert (figures["handover_dropped"], figures["handover_bytes"]) == (expected.dropped, expected.bytes)
