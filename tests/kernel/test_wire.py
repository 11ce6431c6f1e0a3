"""Encoding and decoding between processes."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.kernel.errors import INVALID_REQUEST, FlowError
from cluster.kernel.wire import decode, encode, encode_raw


class Inner(msgspec.Struct):
    seq: int


class Outer(msgspec.Struct):
    text: str
    inner: Inner


class First(msgspec.Struct, tag=1):
    a: int


class Second(msgspec.Struct, tag=2):
    b: int


def test_what_is_encoded_is_decoded() -> None:
    value = Outer("x", Inner(3))
    assert decode(encode(value), Outer) == value
    assert decode(encode_raw(value), Outer) == value
    assert decode(memoryview(encode(value)), Outer) == value


def test_a_union_is_told_apart_by_its_tag() -> None:
    assert decode(encode(Second(1)), First | Second) == Second(1)


def test_a_raw_part_is_copied_as_it_is() -> None:
    raw = encode_raw({"a": 1})
    assert decode(encode([raw, raw]), Any) == [{"a": 1}, {"a": 1}]


def test_an_error_names_the_field() -> None:
    with pytest.raises(FlowError) as caught:
        decode(encode({"text": "x", "inner": {"seq": "secret words"}}), Outer)
    error = caught.value
    assert error.kind is INVALID_REQUEST
    assert error.fields == ("inner.seq",)
    assert error.message == "Expected `int`, got `str` at inner.seq."
    assert error.__cause__ is None


def test_a_missing_field_is_named_in_the_sentence() -> None:
    with pytest.raises(FlowError, match="missing required field `inner`") as caught:
        decode(encode({"text": "x"}), Outer)
    assert caught.value.fields == ()


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x81", b"\x91" * 5_000 + b"\xc0", b"\xa2\xff\xfe"])
def test_what_is_no_msgpack_is_an_invalid_request(data: bytes) -> None:
    with pytest.raises(FlowError) as caught:
        decode(data, Any)
    assert caught.value.kind is INVALID_REQUEST


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_garbage_decodes_or_is_an_invalid_request(data: bytes) -> None:
    outcome: Any
    try:
        outcome = decode(data, Outer)
    except FlowError as error:
        outcome = error
    if isinstance(outcome, FlowError):
        assert outcome.kind is INVALID_REQUEST
        assert len(outcome.message) < 300
    else:
        assert isinstance(outcome, Outer)
