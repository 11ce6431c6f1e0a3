"""Telling people of a new event: those who are near it and those who like what it is about.

The HTTP API calls it after the event is stored. It promises that nobody is told twice by it, that the number of topics
and its own time are bounded, and that it never fails its caller: what cannot be told now is lost, as topics are.
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Final, Protocol, TypeVar

import msgspec

from actors.messages import Done, PublishToTopic
from cluster.kernel.errors import FlowError
from cluster.kernel.ids import Key, topic_key
from realtime.topics import interest_topics, location_topic

_log = logging.getLogger("flow.announcements")

_TIMEOUT_S: Final = 2.0

T = TypeVar("T", bound=msgspec.Struct)


class Commands(Protocol):
    """The part of the router that is used here."""

    async def command(
        self, user_id: str, key: Key, name: str, body: msgspec.Struct, reply: type[T], *, timeout_s: float
    ) -> T: ...


def topics_of(wire_event: Mapping[str, Any]) -> list[str]:
    """The topics in which an event is told: its cell, its category and its tags."""
    location = wire_event.get("location")
    coordinates = location.get("coordinates") if isinstance(location, Mapping) else None
    topics = []
    if coordinates is not None and len(coordinates) == 2:
        topics.append(location_topic((float(coordinates[0]), float(coordinates[1]))))
    category = wire_event.get("category")
    return topics + interest_topics([*([category] if category else []), *(wire_event.get("tags") or ())])


async def announce_event(router: Commands, wire_event: Mapping[str, Any]) -> int:
    """Tell the event as `event:new`; returns in how many topics it was told."""
    topics = topics_of(wire_event)
    body = msgspec.to_builtins(dict(wire_event))
    told = 0
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            for place, topic in enumerate(topics):
                # Whoever watches an earlier topic has been told there.
                publish = PublishToTopic(name="event:new", body=body, skip_topics=tuple(topics[:place]))
                _ = await router.command("", topic_key(topic), "topic.publish", publish, Done, timeout_s=_TIMEOUT_S)
                told += 1
    except (FlowError, TimeoutError) as error:
        _log.warning("an event was told in %d of %d topics: %r", told, len(topics), error)
    return told
