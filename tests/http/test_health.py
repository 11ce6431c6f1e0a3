"""Alive, ready, and the numbers."""

import asyncio
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from cluster.kernel.clock import ManualClock
from cluster.kernel.errors import UNAVAILABLE, FlowError
from realtime.http import health
from realtime.http.context import Readiness
from realtime.metrics import EdgeMetrics
from storage.open import open_storage
from storage.settings import StorageSettings
from tests.http.conftest import StartApi
from tests.http.harness import Api
from tests.support.servers import MongoServer

pytestmark = pytest.mark.storage


class PingedStorage:
    """The real storage, except that a test decides how the database's ping goes."""

    def __init__(self, storage: Any) -> None:
        self._storage = storage
        self.pings = 0
        self.error: FlowError | None = None
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    async def ping(self) -> None:
        self.pings += 1
        await self.may_answer.wait()
        if self.error is not None:
            raise self.error


async def test_a_process_that_answers_is_alive_whatever_else_is_away(api: Api) -> None:
    api.state["readiness"] = Readiness(0, 0, draining=True)
    alive = await api.call("GET", "/healthz")
    assert (alive.status, alive.body) == (200, {"status": "alive", "version": "1.2.3"})
    assert (await api.call("HEAD", "/healthz")).status == 200


async def test_ready_when_the_database_answers_and_a_host_is_linked(api: Api) -> None:
    ready = await api.call("GET", "/readyz")
    assert (ready.status, ready.body["parts"]) == (200, {"storage": "ok", "hosts": "ok", "edge": "ok"})
    api.state["readiness"] = Readiness(1, 3, draining=False)
    assert (await api.call("GET", "/readyz")).body["parts"]["hosts"] == "1 of 3"


@pytest.mark.parametrize(
    ("readiness", "fields"),
    [
        (Readiness(0, 0, draining=False), ["hosts"]),
        (Readiness(0, 2, draining=False), ["hosts"]),
        (Readiness(1, 1, draining=True), ["edge"]),
        (Readiness(0, 1, draining=True), ["hosts", "edge"]),
        (Readiness(1, 1, draining=False, overloaded=("loop", "requests")), ["edge"]),
    ],
)
async def test_not_ready_says_which_part(api: Api, readiness: Readiness, fields: list[str]) -> None:
    api.state["readiness"] = readiness
    refused = await api.call("GET", "/readyz")
    assert (refused.status, refused.code, refused.body["fields"]) == (503, "unavailable", fields)
    assert refused.headers["Retry-After"] == "1"


async def test_the_database_is_asked_at_most_once_a_second_however_many_ask(storage: Any, start: StartApi) -> None:
    pinged = PingedStorage(storage)
    api = await start(storage=pinged)
    answers = await asyncio.gather(*(api.call("GET", "/readyz") for _ in range(20)))
    assert {answer.status for answer in answers} == {200}
    assert pinged.pings == 1
    pinged.error = FlowError(UNAVAILABLE)
    assert (await api.call("GET", "/readyz")).status == 200
    api.clock.advance(1)
    refused = await api.call("GET", "/readyz")
    assert (refused.status, refused.body["fields"]) == (503, ["storage"])
    pinged.error = None
    api.clock.advance(1)
    assert (await api.call("GET", "/readyz")).status == 200


async def test_a_database_that_hangs_does_not_hang_the_probe(
    storage: Any, start: StartApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "PING_TIMEOUT_S", 0.02)
    pinged = PingedStorage(storage)
    pinged.may_answer.clear()
    api = await start(storage=pinged)
    async with asyncio.timeout(5):
        assert (await api.call("GET", "/readyz")).body["fields"] == ["storage"]


async def test_metrics_are_told_by_route_template(start: StartApi) -> None:
    metrics = EdgeMetrics(lambda: {"people": 3.0}, dict)
    api = await start(metrics=metrics)
    ada = await api.someone()
    for user_id in ("a" * 24, "b" * 24):
        _ = await api.call("GET", f"/v1/users/{user_id}", who=ada)
    _ = await api.call("GET", "/nowhere/at/all")
    _ = await api.call("PROPFIND", "/healthz")
    page = await api.call("GET", "/metrics")
    assert page.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    families = {family.name: family for family in text_string_to_metric_families(page.body)}
    counts = {
        (sample.labels["method"], sample.labels["route"], sample.labels["status_code"]): sample.value
        for sample in families["http_request_duration_seconds"].samples
        if sample.name.endswith("_count")
    }
    assert counts["GET", "/v1/users/{id}", "404"] == 2
    assert counts["POST", "/v1/auth/register", "201"] == 1
    assert counts["GET", "unmatched", "404"] == 1
    assert counts["OTHER", "unmatched", "405"] == 1
    assert families["active_users_total"].samples[0].value == 3
    assert "event_recommendations" in families


async def test_a_database_that_goes_away_is_told_as_that_and_comes_back(
    own_mongo_server: MongoServer, clock: ManualClock, start: StartApi
) -> None:
    settings = StorageSettings(
        uri=own_mongo_server.uri, database="flow", operation_timeout_ms=1_000, server_selection_timeout_ms=1_000
    )
    storage = await open_storage(settings, clock)
    try:
        api = await start(storage=storage)
        ada = await api.someone()
        await asyncio.to_thread(own_mongo_server.kill)
        for method, path in (("GET", "/v1/users/me"), ("GET", "/v1/events"), ("GET", "/v1/recommendations")):
            refused = await api.call(method, path, who=ada)
            assert (refused.status, refused.code, refused.body["retryable"]) == (503, "unavailable", True)
        assert (await api.call("GET", "/readyz")).body["fields"] == ["storage"]
        assert (await api.call("GET", "/healthz")).status == 200
        _ = await asyncio.to_thread(own_mongo_server.restart)
        clock.advance(1)
        assert (await api.call("GET", "/readyz")).status == 200
        assert (await api.call("GET", "/v1/users/me", who=ada)).body["id"] == ada.id
    finally:
        await storage.close()
