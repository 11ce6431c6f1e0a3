"""A run that loses, repeats or reorders one message must not count; these tests lose, repeat and reorder one."""

import pytest

from benchmarks.reconcile import Account, LostMessages, Position, RoomTally, Standing


def standing(client: int, seqs: list[tuple[int, int]], start: int = 0) -> Standing:
    position = Position(start)
    for first, last in seqs:
        position.take(first, last)
    return Standing(client, "room", start, position.position, position.faults, position.fault)


def account(*standings: Standing, accepted: int, highest: int | None = None, unanswered: int = 0) -> Account:
    whole = Account()
    whole.add({"room": RoomTally(accepted, accepted if highest is None else highest)}, standings, unanswered)
    return whole


def test_everything_once_and_in_order_is_sound() -> None:
    sound = account(standing(1, [(1, 1), (2, 4), (5, 5)]), standing(2, [(1, 5)]), accepted=5)
    assert sound.missing() == []
    assert sound.check() == 5


@pytest.mark.parametrize(
    ("seqs", "word"),
    [
        ([(1, 1), (3, 5)], "breaks of the order, 3 came after 1"),  # lost in the middle
        ([(1, 4)], "end at 4 to 5"),  # the last one lost, by one client alone
        ([(1, 3), (3, 5)], "breaks of the order, 3 came after 3"),  # repeated
        ([(1, 1), (3, 3), (2, 2), (4, 5)], "breaks of the order"),  # reordered
        ([], "end at 0 to 5"),  # nothing at all
    ],
)
def test_one_message_lost_repeated_or_out_of_order_fails_the_run(seqs: list[tuple[int, int]], word: str) -> None:
    broken = account(standing(1, seqs), standing(2, [(1, 5)]), accepted=5)
    with pytest.raises(LostMessages, match=word):
        broken.check()


def test_a_message_that_nobody_received_is_lost_too() -> None:
    with pytest.raises(LostMessages, match="accepted up to 5, received up to 4"):
        account(standing(1, [(1, 4)]), standing(2, [(1, 4)]), accepted=5).check()


def test_a_message_told_twice_under_two_numbers_is_one_too_many() -> None:
    with pytest.raises(LostMessages, match="4 accepted, 5 received"):
        account(standing(1, [(1, 5)]), accepted=4, highest=5).check()


def test_a_message_that_was_never_answered_fails_the_run() -> None:
    with pytest.raises(LostMessages, match="1 messages were never answered"):
        account(standing(1, [(1, 5)]), accepted=4, highest=4, unanswered=1).check()


def test_accounts_of_several_processes_are_one() -> None:
    whole = account(standing(1, [(1, 6)]), accepted=4, highest=6)
    whole.add({"room": RoomTally(2, 5)}, [standing(2, [(1, 6)])], 0)
    assert whole.check() == 6


@pytest.mark.parametrize(("received", "sound"), [(3, False), (4, True), (5, True), (6, False)])
def test_what_was_answered_with_a_deadline_may_have_been_stored_or_not(received: int, sound: bool) -> None:
    whole = Account()
    whole.add({"room": RoomTally(accepted=4, highest=min(4, received), unknown=1)}, [standing(1, [(1, received)])], 0)
    assert (whole.missing() == []) is sound
