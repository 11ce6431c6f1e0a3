"""Storage's lists while the recommender is away: one that is late or fails leaves the answer to the others."""

import asyncio
from collections.abc import Collection
from typing import Any

import pytest

from cluster.kernel.errors import UNAVAILABLE, FlowError
from realtime.http.settings import ApiSettings
from serve_apps.contracts import ScoredEvent
from storage.client import Database
from storage.dates import to_date, to_iso
from storage.recommendation_queries import RecommendationQueries
from tests.http.conftest import StartApi
from tests.http.harness import Api, Someone
from tests.http.test_recommendations import ids, picks, see

pytestmark = pytest.mark.storage


class HeldUp(RecommendationQueries):
    """What trends is told once `may_answer`, and not at all while there is an `error`."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.may_answer = asyncio.Event()
        self.error: FlowError | None = None
        self.looks = 0

    async def trending(self, now_ms: int, limit: int, exclude: Collection[str] = ()) -> list[ScoredEvent]:
        self.looks += 1
        if self.error is not None:
            raise self.error
        await self.may_answer.wait()
        return await super().trending(now_ms, limit, exclude)


async def held_up(start: StartApi, wait_ms: int) -> tuple[Api, HeldUp]:
    api = await start(ApiSettings(recommendation_list_wait_ms=wait_ms))
    queries = HeldUp(api.context.storage._database)
    api.context.storage.recommendations = queries
    api.recommender.error = FlowError(UNAVAILABLE)
    return api, queries


async def two_events(api: Api) -> tuple[Someone, dict[str, Any], dict[str, Any]]:
    host, ada = await api.someone(), await api.someone()
    hot, other = await api.event(host), await api.event(host)
    await see(api, hot)
    return ada, hot, other


def gauges(api: Api) -> dict[str, float]:
    found = api.interface.statistics()
    return {name.removeprefix("fallback_lists_"): found[name] for name in found if name.startswith("fallback_lists_")}


@pytest.mark.parametrize("kind", ["ai_personalized", "trending", "nearby"])
async def test_what_starts_soonest_answers_while_what_trends_is_late(start: StartApi, kind: str) -> None:
    api, queries = await held_up(start, wait_ms=1)
    ada, hot, other = await two_events(api)
    async with asyncio.timeout(10):
        answer = await picks(api, ada, type=kind)
        again = await picks(api, ada, type=kind)
    assert [(item["id"], item["reason"]) for item in answer["items"]] == [
        (event["id"], "upcoming") for event in sorted((hot, other), key=lambda event: event["id"])
    ]
    assert answer["fallback"] is True
    assert again == answer
    assert queries.looks == 1, "nobody looks again while somebody does"
    found = gauges(api)
    assert found["failed"] == 0
    assert min(found["late"], found["loading_late"], found["skipped"]) >= 1


async def test_what_has_begun_comes_last(start: StartApi) -> None:
    api, queries = await held_up(start, wait_ms=5_000)
    queries.may_answer.set()
    host, ada = await api.someone(), await api.someone()
    now_ms = api.clock.now_ms()
    times = {"start": to_iso(to_date(now_ms - 3_600_000)), "end": to_iso(to_date(now_ms + 3_600_000))}
    begun, coming = await api.event(host, datetime=times), await api.event(host)
    assert ids(await picks(api, ada)) == [coming["id"], begun["id"]]


async def test_what_came_late_is_there_for_the_next(start: StartApi) -> None:
    api, queries = await held_up(start, wait_ms=1)
    ada, hot, other = await two_events(api)
    await picks(api, ada, type="trending")
    queries.may_answer.set()
    async with asyncio.timeout(10):
        while gauges(api)["loading_late"]:  # noqa: ASYNC110 - a gauge, which nobody announces
            await asyncio.sleep(0.01)
        while not api.context.storage.cache.holds("recommendations:trending"):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    answer = await picks(api, ada, type="trending")
    assert [(item["id"], item["reason"]) for item in answer["items"]] == [
        (hot["id"], "trending"),
        (other["id"], "upcoming"),
    ]


async def test_what_trends_rests_after_it_failed(start: StartApi) -> None:
    api, queries = await held_up(start, wait_ms=5_000)
    ada, hot, other = await two_events(api)
    queries.error = FlowError(UNAVAILABLE)
    for _ in range(3):
        assert set(ids(await picks(api, ada, type="trending"))) == {hot["id"], other["id"]}
    assert queries.looks == 1
    assert gauges(api)["failed"] == 1
    queries.error = None
    queries.may_answer.set()
    api.clock.advance(60)
    assert (await picks(api, ada, type="trending"))["items"][0]["reason"] == "trending"


async def test_with_the_database_away_it_is_said(start: StartApi) -> None:
    """Only what starts soonest is left then, and it does not answer either."""
    api, queries = await held_up(start, wait_ms=5_000)
    ada, _, _ = await two_events(api)
    queries.error = FlowError(UNAVAILABLE)
    answer = await api.call("GET", "/v1/recommendations", who=ada)
    assert answer.status == 200

    class Away:
        async def upcoming(self, *_: object) -> None:
            raise FlowError(UNAVAILABLE)

    api.context.storage.events = Away()  # type: ignore[assignment]
    api.clock.advance(60)
    answer = await api.call("GET", "/v1/recommendations", who=ada)
    assert (answer.status, answer.code) == (503, "unavailable")
