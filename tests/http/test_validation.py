"""Outside input: what is let in is exactly the shape, and a refusal names every offending field."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.kernel.errors import INVALID_REQUEST, FlowError
from realtime.http.auth_shapes import Registration
from realtime.http.event_shapes import EventChanges, NewEvent
from realtime.http.fields import Strict
from realtime.http.validation import MAX_FIELDS, decode_json, shaped, shaped_query

EVENT: dict[str, Any] = {
    "title": "Jazz on the roof",
    "description": "Bring a cushion.",
    "category": "music",
    "tags": ["jazz"],
    "datetime": {"start": "2030-06-01T18:00:00+02:00", "end": "2030-06-01T22:00:00+02:00", "timezone": "Europe/Berlin"},
    "location": {"type": "Point", "coordinates": [13.405, 52.52], "address": "Berlin", "venue": "The roof"},
    "pricing": {"type": "paid", "amount": 12.5, "currency": "EUR"},
    "capacity": {"max": 50},
    "visibility": "public",
    "requirements": {"minPoints": 10, "minRating": 4.5, "inviteOnly": False},
    "media": {"images": ["https://example.org/a.png"], "videos": []},
}


def refusal(value: Any, shape: type[msgspec.Struct]) -> FlowError:
    with pytest.raises(FlowError) as caught:
        shaped(value, shape)
    assert caught.value.kind is INVALID_REQUEST
    return caught.value


def test_a_whole_event_document_is_taken() -> None:
    event = shaped(EVENT, NewEvent)
    assert event.location is not None
    assert event.location.coordinates == (13.405, 52.52)
    assert event.requirements.min_points == 10


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        ({"title": ""}, ("title",)),
        ({"title": "   "}, ("title",)),
        ({"title": 7}, ("title",)),
        ({"title": None}, ("title",)),
        ({"title": "x" * 201}, ("title",)),
        ({"organizer": {"id": "me"}}, ("organizer",)),
        ({"datetime": {"start": "tomorrow", "end": "2030-06-01T22:00:00Z"}}, ("datetime.start",)),
        ({"datetime": {"start": "2030-06-01T18:00:00", "end": "2030-06-01T22:00:00Z"}}, ("datetime.start",)),
        ({"datetime": {"start": "2030-06-02T18:00:00Z", "end": "2030-06-01T22:00:00Z"}}, ("datetime",)),
        ({"datetime": {"start": "2030-06-02T18:00:00Z", "end": "2032-06-01T22:00:00Z"}}, ("datetime",)),
        ({"datetime": {"end": "2030-06-01T22:00:00Z"}}, ("datetime.start",)),
        ({"location": {"type": "Polygon", "coordinates": [13.4, 52.5]}}, ("location.type",)),
        ({"location": {"coordinates": [13.4, 52.5]}}, ("location.type",)),
        ({"location": {"type": "Point", "coordinates": [200, 52.5]}}, ("location.coordinates[0]",)),
        ({"location": {"type": "Point", "coordinates": [13.4]}}, ("location.coordinates",)),
        ({"location": {"type": "Point", "coordinates": [13.4, 52.5], "zoom": 3}}, ("location.zoom",)),
        ({"capacity": {"max": 0}}, ("capacity.max",)),
        ({"capacity": {"max": 3, "current": 1}}, ("capacity.current",)),
        ({"capacity": {"max": 3.5}}, ("capacity.max",)),
        ({"pricing": {"type": "paid"}}, ("pricing",)),
        ({"pricing": {"type": "free", "amount": 3}}, ("pricing",)),
        ({"pricing": {"type": "gratis"}}, ("pricing.type",)),
        ({"visibility": "secret"}, ("visibility",)),
        ({"tags": ["a"] * 31}, ("tags",)),
        ({"tags": [1]}, ("tags[0]",)),
        ({"tags": "jazz"}, ("tags",)),
        ({"media": {"images": ["javascript:alert(1)"]}}, ("media.images[0]",)),
        ({"requirements": {"minPoints": -1}}, ("requirements.minPoints",)),
        ({"requirements": {"$where": "1"}}, ("requirements.$where",)),
    ],
)
def test_every_bad_field_is_named(change: dict[str, Any], fields: tuple[str, ...]) -> None:
    assert refusal({**EVENT, **change}, NewEvent).fields == fields


def test_all_of_them_are_named_at_once() -> None:
    error = refusal({"surprise": 1, "title": 3, "capacity": {"max": "many", "min": 2}}, NewEvent)
    assert set(error.fields) == {"surprise", "title", "capacity.max", "capacity.min", "datetime"}


def test_no_more_fields_are_named_than_the_limit_and_none_in_full_length() -> None:
    error = refusal({("x" * 5_000) + str(n): 1 for n in range(200)} | EVENT, NewEvent)
    assert len(error.fields) <= MAX_FIELDS
    assert all(len(name) <= 64 for name in error.fields)
    assert len(error.message) < 1_000


@pytest.mark.parametrize("value", [None, [], "text", 3, True])
def test_a_body_that_is_no_object_is_refused(value: Any) -> None:
    assert refusal(value, NewEvent).fields == ("$",)


def test_changes_tell_null_from_absent() -> None:
    assert shaped({}, EventChanges).given() == ()
    assert shaped({"location": None, "title": "New"}, EventChanges).given() == ("title", "location")
    assert refusal({"title": None}, EventChanges).fields == ("title",)


@pytest.mark.parametrize("username", ["ab", "a" * 33, "ada\n", "a da", "_ada", "ädä", "ada\x00", "ada$", ""])
def test_usernames_have_a_form(username: str) -> None:
    assert refusal({"username": username, "password": "correct horse"}, Registration).fields == ("username",)


@pytest.mark.parametrize("password", ["seven77", "x" * 129, "", None, 12345678])
def test_passwords_have_eight_to_128_characters(password: Any) -> None:
    assert refusal({"username": "ada", "password": password}, Registration).fields == ("password",)


@pytest.mark.parametrize(
    "raw",
    [b"{", b"[" * 60_000, b'{"a": NaN}', b"\xff\xfe", b'{"a": "\\ud800"}', b'{"a": "\\udc00x"}', b"{} {}", b"1e999"],
)
def test_what_is_not_json_is_refused(raw: bytes) -> None:
    with pytest.raises(FlowError) as caught:
        decode_json(raw)
    assert caught.value.kind is INVALID_REQUEST


class Search(Strict, frozen=True):
    limit: int = 20
    exact: bool = False
    q: str | None = None


def test_a_query_string_is_read_into_numbers_and_booleans() -> None:
    assert shaped_query([("limit", "5"), ("exact", "true"), ("q", "7")], Search) == Search(limit=5, exact=True, q="7")


@pytest.mark.parametrize(
    ("pairs", "field"),
    [
        ([("limit", "five")], "limit"),
        ([("limit", "")], "limit"),
        ([("limit", "1.5")], "limit"),
        ([("exact", "maybe")], "exact"),
        ([("page", "2")], "page"),
        ([("limit", "1"), ("limit", "2")], "limit"),
        ([("q", "\udcff")], "q"),
    ],
)
def test_a_query_that_is_not_of_its_form_is_refused(pairs: list[tuple[str, str]], field: str) -> None:
    with pytest.raises(FlowError) as caught:
        shaped_query(pairs, Search)
    assert caught.value.fields == (field,)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(json_values | st.fixed_dictionaries({}, optional=dict.fromkeys(EVENT, json_values)))
def test_any_json_is_either_an_event_or_a_refusal_with_fields(value: Any) -> None:
    raw = msgspec.json.encode(value)
    refused: FlowError | None = None
    try:
        event = shaped(decode_json(raw), NewEvent)
        assert msgspec.json.decode(msgspec.json.encode(event), type=NewEvent) == event
    except FlowError as error:
        refused = error
    if refused is not None:
        assert refused.kind is INVALID_REQUEST
        assert refused.fields
