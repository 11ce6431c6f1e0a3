"""The waiting line against the plainest line there is: a list."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.waiting_line import WaitingLine

PEOPLE = [f"p{number}" for number in range(12)]
MOVES = st.lists(st.tuples(st.sampled_from(["join", "leave", "serve"]), st.sampled_from(PEOPLE)), max_size=300)


def check(line: WaitingLine, model: list[str]) -> None:
    assert len(line) == len(model)
    assert line.first() == (model[0] if model else None)
    assert [line.rank(user) for user in model] == list(range(1, len(model) + 1))
    for user in PEOPLE:
        assert (user in line) == (user in model)


@given(st.lists(st.sampled_from(PEOPLE), unique=True), MOVES)
def test_it_is_a_list_with_places_that_only_grow(waiting: list[str], moves: list[tuple[str, str]]) -> None:
    line, model = WaitingLine((10 * place, user) for place, user in enumerate(waiting, 1)), list(waiting)
    given_last = 10 * len(waiting)
    for move, user in moves:
        if move == "join" and user not in model:
            place = line.join(user)
            assert place > given_last
            given_last = place
            model.append(user)
        elif move == "leave":
            line.leave(user)
            model = [waiting for waiting in model if waiting != user]
        elif move == "serve" and model:
            line.leave(model.pop(0))
        check(line, model)


def test_whoever_was_read_from_storage_stands_in_the_order_of_places() -> None:
    line = WaitingLine([(7, "c"), (2, "a"), (5, "b")])
    assert [line.rank(user) for user in "abc"] == [1, 2, 3]
    assert line.join("d") == 8


def test_who_does_not_wait_has_no_rank() -> None:
    with pytest.raises(ValueError, match="nobody"):
        WaitingLine([(1, "a")]).rank("nobody")


def test_a_long_line_that_is_served_from_the_front_holds_no_more_than_twice_its_people() -> None:
    line = WaitingLine(())
    for number in range(5_000):
        line.join(f"w{number}")
        if number >= 100:
            line.leave(f"w{number - 100}")
            assert line.first() == f"w{number - 99}"
    assert len(line) == 100
    assert len(line._people) <= 201
