"""Silence is counted while somebody waits, and only then."""

from tests.chaos.checker.log import Send
from tests.chaos.checker.silence import longest_silences, percentile
from tests.chaos.records import Client

SOMEBODY = Client("a", "a")


def send(asked: float, acked: float | None, *, gave_up: float | None = None) -> Send:
    ended = acked if acked is not None else gave_up
    return Send(SOMEBODY, "room", "k", "k", asked, acked, is_settled=ended is not None, ended_at=ended or 0.0)


def longest(*sends: Send, end: float = 100.0) -> float:
    return longest_silences(sends, end)["room"]


def test_it_is_counted_from_the_question_to_the_next_answer_to_anybody() -> None:
    assert longest(send(1, 4)) == 3
    assert longest(send(1, 8), send(2, 4), send(3, 5)) == 3


def test_nobody_waits_no_silence() -> None:
    assert longest(send(1, 2), send(50, 51)) == 1
    assert longest(send(1, 2), send(2, 3)) == 1


def test_a_question_without_an_answer_counts_until_its_sender_gives_up_or_the_end() -> None:
    assert longest(send(1, None, gave_up=8)) == 7
    assert longest(send(1, None, gave_up=8), send(2, 6)) == 5
    assert longest(send(90, None), end=97) == 7


def test_percentiles_are_values_that_occurred() -> None:
    assert percentile([], 0.5) == 0.0
    assert percentile([3.0], 0.99) == 3.0
    assert percentile([1.0, 2.0, 3.0, 4.0], 0.5) == 2.0
    assert percentile(range(1, 101), 0.99) == 99
