"""Encoded events: the same object as the whole document, read once for everybody, and read anew once it changed."""

import asyncio
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.http.event_document import EventDocument, ShownTimes
from realtime.http.event_fragments import EventFragment, EventFragments, joined
from realtime.http.recommendation_sources import Sources
from realtime.http.recommendations import RecommendedEvent, Why
from tests.http.harness import Api

texts = st.text(max_size=20)
documents = st.builds(
    EventDocument,
    id=texts,
    title=texts,
    description=texts,
    tags=st.lists(texts, max_size=3).map(tuple),
    datetime=st.just(ShownTimes(start="2030-01-01T00:00:00.000Z", end="2030-01-01T01:00:00.000Z")),
)
whys = st.builds(
    Why,
    reason=st.sampled_from(["ai_personalized", "upcoming"]),
    because=st.lists(texts, max_size=2).map(tuple),
    score=st.floats(allow_nan=False, allow_infinity=False) | st.just(msgspec.UNSET),
)


@given(documents, whys)
def test_what_is_joined_is_the_object_with_the_fields_of_both(document: EventDocument, why: Why) -> None:
    content = msgspec.json.encode(document)
    whole = joined(EventFragment("e", "", "public", 0, msgspec.Raw(content)), why)
    assert json.loads(bytes(whole)) == {**json.loads(content), **json.loads(msgspec.json.encode(why))}


def test_a_reason_has_the_fields_that_the_documented_answer_has() -> None:
    added = set(RecommendedEvent.__struct_fields__) - set(EventDocument.__struct_fields__)
    assert added == set(Why.__struct_fields__)


@pytest.mark.storage
async def test_an_event_is_read_once_until_it_changes(api: Api) -> None:
    host = await api.someone()
    one, other = await api.event(host), await api.event(host)
    fragments, storage = EventFragments(api.context), api.context.storage
    before = storage.statistics()["loads"]
    for _ in range(3):
        found = await fragments.of([one["id"], other["id"], "f" * 24])
        assert {name: json.loads(bytes(part.content)) for name, part in found.items()} == {
            one["id"]: one,
            other["id"]: other,
        }
    assert storage.statistics()["loads"] == before + 2
    await storage.events.update(one["id"], {"title": "Another", "visibility": "private"})
    found = await fragments.of([one["id"], other["id"]])
    assert json.loads(bytes(found[one["id"]].content))["title"] == "Another"
    assert found[one["id"]].stored["visibility"] == "private"
    await storage.events.delete(other["id"])
    assert set(await fragments.of([one["id"], other["id"]])) == {one["id"]}


@pytest.mark.storage
async def test_an_imported_change_is_seen_at_once(api: Api) -> None:
    event = await api.event(await api.someone())
    storage = api.context.storage
    stored = await storage.events.by_id(event["id"])
    assert stored is not None
    document = {"title": "A", "datetime": stored["datetime"], "source": {"platform": "p", "externalId": "1"}}
    await storage.events.upsert_imported([document])
    [imported] = await storage.events._events.find({"source.externalId": "1"}, limit=1)
    fragments = EventFragments(api.context)
    await fragments.of([imported["_id"]])
    assert await storage.events.upsert_imported([{**document, "title": "B"}]) == ["updated"]
    found = await fragments.of([imported["_id"]])
    assert json.loads(bytes(found[imported["_id"]].content))["title"] == "B"


@pytest.mark.storage
async def test_what_only_fills_up_is_read_for_one_region_at_a_time(api: Api) -> None:
    """Each look costs the database as much as fifty requests do, and comes when there is too much to do already."""
    host = await api.someone()
    event = await api.event(host, location={"type": "Point", "coordinates": [2.35, 48.85]})
    sources = Sources(api.context)
    first, second = await asyncio.gather(
        sources.filling_nearby((2.3, 48.9), 50.0), sources.filling_nearby((13.4, 52.5), 50.0)
    )
    assert [one.event_id for one in first] == [event["id"]]
    assert second == []
    loads = api.context.storage.statistics()["loads"]
    assert await sources.filling_nearby((2.49, 48.51), 50.0) == first
    assert api.context.storage.statistics()["loads"] == loads
    for place in ((180.0, 90.0), (-180.0, -90.0)):
        assert await sources.filling_nearby(place, 50.0) == []
