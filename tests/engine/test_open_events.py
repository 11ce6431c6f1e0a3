"""An event encoded once with its last argument open: each connection's own text at the end, in both parsers."""

from typing import Any

import msgpack
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.engine.events import JSON, MSGPACK, OutgoingEvent

BODIES = st.dictionaries(
    st.text(max_size=8), st.none() | st.integers(-(2**53), 2**53) | st.text(max_size=20), max_size=5
)
OFFSETS = st.text(alphabet="abcXYZ019-_.", max_size=300)


@given(st.lists(BODIES, max_size=3), OFFSETS, OFFSETS)
def test_it_is_the_event_with_one_argument_more(bodies: list[dict[str, Any]], first: str, second: str):
    event = OutgoingEvent("/chat", "chat:new_message", tuple(bodies))
    for offset in (first, second):
        expected = ["chat:new_message", *bodies, offset]
        ended = event.with_offset(offset)
        json_text = ended.wire(JSON).whole
        assert json_text.startswith(b"42/chat,")
        assert orjson.loads(json_text.removeprefix(b"42/chat,")) == expected
        assert msgpack.unpackb(ended.wire(MSGPACK).whole) == {"type": 2, "nsp": "/chat", "data": expected}
        assert ended.namespace == "/chat"
        assert event.with_offset("another").with_offset(offset).wire(JSON).whole == json_text
        assert ended.wire(JSON) is ended.wire(JSON), "encoded once, however many have this offset"
        assert ended.wire(MSGPACK) is ended.wire(MSGPACK)
    assert event.wire(JSON) is event.wire(JSON)


def test_an_event_with_attachments_cannot_be_open():
    event = OutgoingEvent("/chat", "picture", (b"bytes",))
    with pytest.raises(AssertionError):
        event.with_offset("offset").wire(JSON)
