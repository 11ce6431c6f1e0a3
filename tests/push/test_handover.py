"""The way from the committer to the relay: bounded, in order, and never the only place where a message is."""

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from actors.outbox.handover import Handover
from cluster.kernel.clock import ManualClock
from storage.records import Message

LIMIT, KEEP_MS = 5, 1_000


def message(seq: int) -> Message:
    return Message(
        id=f"{seq:024x}", room_id="r", seq=seq, epoch=1, user_id="u", text="", at_ms=0, client_message_id=str(seq)
    )


@dataclass
class Expected:
    """The same by the book: a list, looked through each time."""

    waiting: list[tuple[int, int]] = field(default_factory=list)
    dropped: int = 0

    def offer(self, seqs: list[int], now_ms: int) -> None:
        for seq in seqs:
            if len(self.waiting) < LIMIT:
                self.waiting.append((now_ms + KEEP_MS, seq))
            else:
                self.dropped += 1

    def take(self, most: int, now_ms: int) -> list[int]:
        taken: list[int] = []
        while self.waiting and len(taken) < most:
            until_ms, seq = self.waiting.pop(0)
            if until_ms > now_ms:
                taken.append(seq)
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
    handover = Handover(clock, LIMIT, KEEP_MS)
    for name, number in steps:
        if name == "offer":
            new = list(range(seq, seq + number))
            seq += number
            handover.offer([message(one) for one in new])
            expected.offer(new, clock.now_ms())
        elif name == "take":
            taken = [one.seq for one in handover.take(number)]
            assert taken == expected.take(number, clock.now_ms())
        else:
            clock.advance(number / 1_000)
        assert len(handover) == len(expected.waiting) <= LIMIT
        assert handover.statistics()["handover_dropped"] == expected.dropped
