"""A host's journal: whatever fits in memory, everything that was stored is worked out, and none is passed over."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from actors.outbox.journal import Gap, Journal, size_of
from storage.records import Debt, Message, OwedMessage


def message(text: str = "hello") -> Message:
    given: dict[str, Any] = {"id": "m", "room_id": "r", "seq": 1, "epoch": 1, "user_id": "u", "at_ms": 0}
    return Message(**given, text=text, client_message_id="c")


def store(journal: Journal, owed: list[bool]) -> list[Debt | None]:
    debts = journal.number(owed)
    journal.stored([message() for _ in owed], debts)
    return debts


def test_those_that_owe_are_numbered_in_order_and_the_others_are_not_kept() -> None:
    journal = Journal("j", limit=9, limit_bytes=90_000)
    assert store(journal, [True, False, True]) == [Debt("j", 1), None, Debt("j", 2)]
    assert journal.number([True]) == [Debt("j", 3)], "the next try has the next numbers"
    assert journal.next(10) == [OwedMessage(message(), 1), OwedMessage(message(), 2)]
    assert journal.next(1) == [OwedMessage(message(), 1)], "it stays the next until it is settled"
    journal.settle(2)
    assert journal.next(10) == []


def test_what_may_be_stored_without_an_answer_is_a_gap_behind_what_is_known() -> None:
    journal = Journal("j", limit=9, limit_bytes=90_000)
    store(journal, [True])
    journal.number([True, True])
    journal.lose()
    store(journal, [True])
    assert journal.next(10) == [OwedMessage(message(), 1)]
    journal.settle(1)
    assert journal.next(10) == Gap(1, 4), "what came behind the gap is read with it"
    store(journal, [True])
    assert journal.next(10) == Gap(1, 4)
    journal.settle(4)
    assert journal.next(10) == [OwedMessage(message(), 5)]


@given(st.lists(st.integers(0, 5_000), max_size=30), st.integers(1, 12), st.integers(1, 20_000))
def test_it_keeps_no_more_than_its_bounds(lengths: list[int], limit: int, limit_bytes: int) -> None:
    journal = Journal("j", limit=limit, limit_bytes=limit_bytes)
    for length in lengths:
        journal.stored([message("x" * length)], journal.number([True]))
        numbers = journal.statistics()
        assert numbers["handover_waiting"] <= limit
        assert numbers["handover_bytes"] <= limit_bytes
    kept = journal.next(1_000)
    if isinstance(kept, list):
        assert journal.statistics()["handover_bytes"] == sum(size_of(owed.message) for owed in kept)
        assert journal.statistics()["handover_dropped"] == len(lengths) - len(kept)


class HostAndRelay(RuleBasedStateMachine):
    """A host that stores, fails and gives up, and a relay that works out pages, against what storage holds."""

    def __init__(self) -> None:
        super().__init__()
        self.journal = Journal("j", limit=4, limit_bytes=1_000_000)
        self.storage: list[int] = []
        self.worked_out: set[int] = set()

    def written(self, debts: list[Debt | None]) -> None:
        self.storage.extend(debt.number for debt in debts if debt is not None)

    @rule(owed=st.lists(st.booleans(), min_size=1, max_size=6), stored=st.integers(0, 6))
    def store(self, owed: list[bool], stored: int) -> None:
        """All of a batch, or what came before one that was refused."""
        debts = self.journal.number(owed)
        self.written(debts[:stored])
        kept = debts[:stored]
        self.journal.stored([message() for _ in kept], kept)

    @rule(count=st.integers(1, 5), stored=st.integers(0, 5))
    def lose_the_outcome(self, count: int, stored: int) -> None:
        self.written(self.journal.number([True] * count)[:stored])
        self.journal.lose()

    @rule(count=st.integers(1, 5), stored=st.integers(0, 5))
    def try_again(self, count: int, stored: int) -> None:
        """The first try was stored in part, without an answer; the second has the answer for all of it."""
        first = self.journal.number([True] * count)
        self.written(first[:stored])
        second = self.journal.number([True] * count)
        self.written(second[stored:])
        self.journal.stored([message() for _ in second], second)

    @rule(most=st.integers(1, 5))
    def work_out(self, most: int) -> None:
        front = self.journal.next(most)
        if isinstance(front, Gap):
            found = [number for number in sorted(self.storage) if front.after < number <= front.until][:most]
            self.worked_out.update(found)
            self.journal.settle(front.until if len(found) < most else found[-1])
        elif front:
            # A message that was tried twice has the number of the try that stored it, which is not greater.
            until = front[-1].number
            self.worked_out.update(number for number in self.storage if number <= until)
            self.journal.settle(until)

    @invariant()
    def nothing_is_passed_over(self) -> None:
        assert {number for number in self.storage if number <= self.journal.settled} <= self.worked_out

    @precondition(lambda self: self.storage)
    @rule()
    def everything_is_worked_out_in_the_end(self) -> None:
        for _ in range(200):
            if self.journal.next(3) == []:
                break
            self.work_out(3)
        assert set(self.storage) <= self.worked_out


TestHostAndRelay = HostAndRelay.TestCase
