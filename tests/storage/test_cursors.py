"""Page cursors: what was put in comes out, and nothing else gets in."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.kernel.errors import INVALID_REQUEST, FlowError
from storage.cursors import decode_cursor, encode_cursor


@given(st.integers(-(2**60), 2**60), st.text(max_size=50))
def test_a_position_comes_back(number: int, text: str) -> None:
    assert decode_cursor(encode_cursor("list", number, text), "list", int, str) == (number, text)


@pytest.mark.parametrize(
    "cursor",
    ["", "!", "äöü", "AAAA", "x" * 10_000, encode_cursor("other", 1, "a"), encode_cursor("list", "a", 1),
     encode_cursor("list", 1), encode_cursor("list", 1, "a", 2), encode_cursor("list", True, "a")],
)  # fmt: skip
def test_a_cursor_of_another_kind_is_refused(cursor: str) -> None:
    with pytest.raises(FlowError) as caught:
        decode_cursor(cursor, "list", int, str)
    assert (caught.value.kind, caught.value.fields) == (INVALID_REQUEST, ("cursor",))


@given(st.text(max_size=80))
def test_no_text_does_anything_but_be_refused(cursor: str) -> None:
    with contextlib.suppress(FlowError):
        decode_cursor(cursor, "list", int, str)
