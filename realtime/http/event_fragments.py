"""Events as they are answered, encoded once and kept while nobody changes them: the parts that an answer is made of.

Used by the recommendations operation, which shows the same events to many people. What decides whether an event may be
shown travels beside its bytes and is looked at for each person anew. Bounded with the memory of the two-level cache;
whoever changes an event says so there, and what nobody said is seen after `TTL_S`.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from realtime.http.context import ApiContext
from realtime.http.event_access import Stored, organizer_of
from realtime.http.event_document import event_document
from storage.cache import event_cache_key
from storage.dates import to_ms

TTL_S: Final = 30.0
_PREFIX: Final = len(event_cache_key(""))


class EventFragment(msgspec.Struct, frozen=True, array_like=True):
    """`content` is the event's JSON object."""

    event_id: str
    organizer_id: str
    visibility: str
    end_ms: int
    content: msgspec.Raw

    @property
    def stored(self) -> Stored:
        """As much of the stored event as visibility is decided by."""
        return {"_id": self.event_id, "visibility": self.visibility, "organizer": {"id": self.organizer_id}}


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(tuple[str, str, str, int, bytes])


class EventFragments:
    def __init__(self, context: ApiContext) -> None:
        self._storage = context.storage

    async def of(self, event_ids: Sequence[str]) -> dict[str, EventFragment]:
        """Those that exist, by id; those that are not kept are read at once."""
        found = await self._storage.cache.get_many(map(event_cache_key, event_ids), self._load, ttl_s=TTL_S)
        return {key[_PREFIX:]: _fragment(value) for key, value in found.items()}

    async def _load(self, keys: list[str]) -> dict[str, bytes]:
        stored = await self._storage.events.by_ids([key[_PREFIX:] for key in keys])
        return {event_cache_key(event["_id"]): _encoded(event) for event in stored}


def _encoded(event: Stored) -> bytes:
    content = msgspec.json.encode(event_document(event))
    end_ms = to_ms(event["datetime"]["end"])
    return _encoder.encode((event["_id"], organizer_of(event), event["visibility"], end_ms, content))


def _fragment(value: bytes) -> EventFragment:
    event_id, organizer_id, visibility, end_ms, content = _decoder.decode(value)
    return EventFragment(event_id, organizer_id, visibility, end_ms, msgspec.Raw(content))


def joined(fragment: EventFragment, more: msgspec.Struct) -> msgspec.Raw:
    """The event's object with the fields of `more`, which has at least one that is always there."""
    return msgspec.Raw(bytes(fragment.content)[:-1] + b"," + msgspec.json.encode(more)[1:])
