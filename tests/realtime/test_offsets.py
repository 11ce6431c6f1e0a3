"""What a client keeps: the text says exactly where a connection is, and a pid cannot be made by anyone else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.kernel.ids import parse_room
from realtime.offsets import MAX_OFFSET_CHARACTERS, MAX_PID_CHARACTERS, Offsets, PidSigner, head_of

IDS = st.binary(min_size=12, max_size=12).map(bytes.hex)
ROOMS = st.one_of(
    IDS,
    IDS.map(lambda event: f"event:{event}"),
    st.tuples(IDS, IDS).filter(lambda pair: pair[0] != pair[1]).map(lambda pair: parse_room(f"dm:{':'.join(pair)}").id),
)
_GROUP = "g" + "A" * 16
SEQS = st.integers(0, 2**53)


@given(st.dictionaries(ROOMS, SEQS, max_size=32))
def test_the_text_is_the_state(rooms):
    offsets = Offsets(32)
    for room, seq in rooms.items():
        offsets.move(room, seq)
    text = offsets.text
    assert len(text) <= MAX_OFFSET_CHARACTERS
    assert text.isascii()
    assert not set(text) & set('"\\ ')
    parsed = Offsets.parse(text, 32)
    assert parsed is not None
    assert dict(parsed) == rooms
    assert parsed.text == text


@given(st.lists(st.tuples(st.sampled_from(["a" * 24, "event:" + "b" * 24, "c" * 24]), st.none() | SEQS), max_size=20))
def test_moves_and_leaves_end_where_they_should(steps):
    offsets, expected = Offsets(2), {}
    for room, seq in steps:
        if seq is None:
            expected.pop(room, None)
            text = offsets.leave(room)
        else:
            expected[room] = seq
            text = offsets.move(room, seq)
        assert dict(offsets) == expected
        assert text == offsets.text
        assert (Offsets.parse(text, 2) is None) == (len(expected) > 2)


ROOMS_OF_ONE = ["a" * 24, "event:" + "b" * 24, "c" * 24]
ACTS = st.sampled_from(["delivered", "moved", "left"])


@given(st.lists(st.tuples(st.sampled_from(ROOMS_OF_ONE), ACTS, SEQS), max_size=30))
def test_a_connection_that_is_alone_in_a_room_has_the_same_text_as_any_other(acts):
    """The quick way of a delivery (`alone_in`, `alone_at`) and the plain one end in the same, act by act."""
    quick, plain = Offsets(2), {}
    for room, act, seq in acts:
        if act == "left":
            plain.pop(room, None)
            quick.leave(room)
        else:
            plain[room] = f"{head_of(room)}{seq}"
            if act == "delivered" and quick.alone_in == head_of(room):
                quick.alone_at = seq
            else:
                quick.move(room, seq)
        assert quick.text == ("-" if len(plain) > 2 else ".".join(plain.values()))
        assert (quick.alone_in is not None) == (len(plain) == 1)
        for other in ROOMS_OF_ONE:
            assert (other in quick) == (other in plain)


@given(st.text(max_size=200) | st.text(alphabet="gedA_-0123456789.", max_size=80))
def test_any_other_text_is_no_state(text):
    parsed = Offsets.parse(text, 32)
    assert parsed is None or parsed.text == text


@pytest.mark.parametrize(
    "text",
    ["-", ".", _GROUP, _GROUP + "01", "d" + "A" * 32 + "1", "x" + "A" * 16 + "1", f"{_GROUP}1.{_GROUP}1"],
)
def test_texts_that_almost_are_one_are_refused(text):
    assert Offsets.parse(text, 32) is None


SIGNER = PidSigner("s" * 32)


def test_a_pid_gives_its_id_back_to_whom_it_was_given():
    pid = SIGNER.sign("edge-0~abc_-", "/chat", "user", "session")
    assert SIGNER.verify(pid, "/chat", "user", "session") == "edge-0~abc_-"
    rotated = PidSigner("t" * 32, "s" * 32)
    assert rotated.verify(pid, "/chat", "user", "session") == "edge-0~abc_-"
    for namespace, user, session in (("/x", "user", "session"), ("/chat", "u", "session"), ("/chat", "user", "s")):
        assert SIGNER.verify(pid, namespace, user, session) is None
    assert PidSigner("u" * 32).verify(pid, "/chat", "user", "session") is None


@given(st.text(max_size=MAX_PID_CHARACTERS + 8))
def test_a_made_up_pid_is_worth_nothing(pid):
    assert SIGNER.verify(pid, "/chat", "user", "session") is None
