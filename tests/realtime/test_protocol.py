"""What clients may send: the forms that exist, and what is said of everything else."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.kernel.errors import INVALID_REQUEST, FlowError
from realtime.protocol import (
    EVENTS,
    ConnectRequest,
    EventRequest,
    JoinRoomRequest,
    ListNotificationsRequest,
    RefreshRequest,
    RoomRequest,
    SendMessageRequest,
    failure,
    parse,
    parse_value,
    shape_of,
    success,
)

ID = "0123456789abcdef01234567"


def test_the_events_of_each_namespace_are_those_of_the_contract():
    assert {namespace: set(events) for namespace, events in EVENTS.items()} == {
        "/chat": {
            "chat:join_room",
            "chat:leave_room",
            "chat:send_message",
            "chat:typing",
            "chat:read",
            "chat:history",
        },
        "/events": {"event:interested", "event:join_updates", "event:leave_updates", "event:rsvp"},
        "/notifications": {"notification:read", "notification:list"},
    }
    assert all(shape_of(namespace, "auth:refresh") is RefreshRequest for namespace in EVENTS)
    assert shape_of("/chat", "event:rsvp") is None


def test_a_plain_string_stands_for_the_id():
    assert parse(JoinRoomRequest, [ID]) == parse(JoinRoomRequest, [{"roomId": ID}]) == JoinRoomRequest(ID)
    assert parse(RoomRequest, [ID]) == RoomRequest(ID)
    assert parse(EventRequest, [ID]) == parse(EventRequest, [{"eventId": ID}]) == EventRequest(ID)
    assert parse(JoinRoomRequest, [{"roomId": ID, "since": 5, "epoch": 2}]) == JoinRoomRequest(ID, 5, 2)
    with pytest.raises(FlowError):
        parse(SendMessageRequest, [ID])


def test_only_a_list_may_come_without_a_payload():
    assert parse(ListNotificationsRequest, []) == ListNotificationsRequest()
    with pytest.raises(FlowError):
        parse(EventRequest, [])
    with pytest.raises(FlowError):
        parse(EventRequest, [ID, ID])


@pytest.mark.parametrize(
    ("payload", "fields"),
    [
        ({}, {"roomId", "text", "clientMsgId"}),
        ({"roomId": ID, "text": "x", "clientMsgId": "1", "__proto__": 1}, {"__proto__"}),
        ({"roomId": ID, "text": "x", "client_msg_id": "1"}, {"clientMsgId", "client_msg_id"}),
        ({"roomId": ID, "text": None, "clientMsgId": "1"}, {"text"}),
        ({"roomId": ID, "text": "\ud800", "clientMsgId": "1"}, {"text"}),
        ({"roomId": ID, "text": "x", "clientMsgId": "\udfff"}, {"clientMsgId"}),
        ({"roomId": ID, "text": "x" * 4001, "clientMsgId": "y" * 129}, {"text", "clientMsgId"}),
        ({"roomId": {"$ne": 1}, "text": ["x"], "clientMsgId": 1.5}, {"roomId", "text", "clientMsgId"}),
        ({1: 2, "roomId": ID, "text": "x", "clientMsgId": "1"}, {"1"}),
    ],
)
def test_each_offending_field_is_named(payload, fields):
    with pytest.raises(FlowError) as caught:
        parse(SendMessageRequest, [payload])
    assert caught.value.kind is INVALID_REQUEST
    assert set(caught.value.fields) == fields


def test_what_is_said_of_a_rejection_is_bounded_and_can_be_written():
    with pytest.raises(FlowError) as caught:
        parse(SendMessageRequest, [{f"{number}\ud800{'x' * 500}": number for number in range(1000)}])
    assert len(str(caught.value.to_wire()).encode()) < 4_000


def test_text_of_four_thousand_characters_of_any_script_is_taken():
    text = "🎉" * 4_000
    assert parse(SendMessageRequest, [{"roomId": ID, "text": text, "clientMsgId": "1"}]).text == text


def test_client_libraries_may_add_to_the_auth_payload():
    request = parse_value(ConnectRequest, {"token": "t", "pid": "p", "offset": "o", "location": [1, 2]})
    assert request.location == (1.0, 2.0)
    assert request.interests is None
    for wrong in ({"location": [181, 0]}, {"location": [0]}, {"location": [float("nan"), 0]}, {"interests": [1]}):
        with pytest.raises(FlowError):
            parse_value(ConnectRequest, {"token": "t", **wrong})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(st.sampled_from([shape for events in EVENTS.values() for shape in events.values()]), st.lists(json_values))
def test_whatever_is_sent_is_taken_or_refused_with_a_code(shape, args):
    with contextlib.suppress(FlowError):
        assert isinstance(parse(shape, args), shape)


def test_answers_have_one_shape():
    assert success({"seq": 1}) == {"ok": True, "seq": 1}
    assert failure(FlowError(INVALID_REQUEST, retry_after_ms=5)) == {
        "ok": False,
        "error": {
            "code": "invalid_request",
            "message": INVALID_REQUEST.message,
            "retryable": False,
            "retryAfterMs": 5,
        },
    }
