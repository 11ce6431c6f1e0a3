"""The whole HTTP interface in one process: a client whose every answer is held against the published description."""

import itertools
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import jsonschema
import orjson
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from argon2.profiles import CHEAPEST

from cluster.kernel.clock import ManualClock
from realtime.auth import TokenService, TokenSettings
from realtime.http.api import ApiContext, HttpApi, mount
from realtime.http.context import Readiness
from realtime.http.settings import ApiSettings
from realtime.passwords import PasswordService
from tests.http.doubles import CountedMetrics, ScriptedRecommender, ScriptedRouter

PASSWORD = "correct horse"
_numbers = itertools.count(1)


@dataclass
class Answer:
    status: int
    body: Any
    headers: Any

    @property
    def code(self) -> str:
        return self.body["code"]


@dataclass
class Someone:
    """A registered person and the tokens of one session."""

    id: str
    username: str
    token: str
    refresh_token: str


@dataclass
class Api:
    client: TestClient
    context: ApiContext
    clock: ManualClock
    router: ScriptedRouter
    recommender: ScriptedRecommender
    metrics: CountedMetrics
    state: dict[str, Any]
    interface: HttpApi
    description: dict[str, Any] = field(default_factory=dict)

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        who: Someone | None = None,
        token: str | None = None,
        headers: dict[str, str] | None = None,
        data: Any = None,
        params: dict[str, Any] | None = None,
    ) -> Answer:
        sent = dict(headers or {})
        if who is not None:
            token = who.token
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        async with self.client.request(
            method, path, json=body, data=data, headers=sent, params=params, allow_redirects=False
        ) as response:
            raw = await response.read()
            answer = Answer(response.status, _decoded(response, raw), response.headers)
        if self.description and method != "OPTIONS":
            self._check(method, path, answer)
        return answer

    def _check(self, method: str, path: str, answer: Answer) -> None:
        """The answer is of the shape that the description promises for it."""
        if not isinstance(answer.body, dict):
            return
        schema: Any = {"$ref": "#/components/schemas/Problem"}
        if answer.status < 400:
            operation = self._operation(method, path)
            if operation is None:
                return
            schema = operation["responses"][str(answer.status)]["content"]["application/json"]["schema"]
        else:
            assert answer.headers["Content-Type"].startswith("application/problem+json")
        jsonschema.Draft202012Validator({**schema, "components": self.description["components"]}).validate(answer.body)

    def _operation(self, method: str, path: str) -> Any:
        steps = path.partition("?")[0].strip("/").split("/")
        templates = sorted(self.description["paths"].items(), key=lambda item: item[0].count("{"))
        for template, methods in templates:
            parts = template.strip("/").split("/")
            if len(parts) == len(steps) and all(
                part.startswith("{") or part == step for part, step in zip(parts, steps, strict=True)
            ):
                return methods.get(method.lower())
        return None

    async def someone(self, **profile: Any) -> Someone:
        username = profile.pop("username", f"person{next(_numbers)}")
        made = await self.call("POST", "/v1/auth/register", {"username": username, "password": PASSWORD, **profile})
        assert made.status == 201, made
        body = made.body
        return Someone(body["user"]["id"], username, body["accessToken"], body["refreshToken"])

    async def event(self, who: Someone, **changes: Any) -> dict[str, Any]:
        made = await self.call("POST", "/v1/events", {**an_event(self.clock), **changes}, who=who)
        assert made.status == 201, made
        return made.body

    async def walk(self, path: str, *, who: Someone, **params: Any) -> list[Any]:
        """Every item of a list, page by page."""
        items: list[Any] = []
        cursor: dict[str, Any] = {}
        for _ in range(1_000):
            page = await self.call("GET", path, who=who, params={**params, **cursor})
            assert page.status == 200, page
            assert page.body["items"] or not cursor, "`next` led to an empty page"
            items += page.body["items"]
            if page.body["next"] is None:
                return items
            cursor = {"cursor": page.body["next"]}
        raise AssertionError(f"{path} has no end")


def _decoded(response: aiohttp.ClientResponse, raw: bytes) -> Any:
    return orjson.loads(raw) if raw and "json" in response.content_type else raw.decode()


def an_event(clock: ManualClock, *, starts_in_days: float = 7) -> dict[str, Any]:
    """A public event, complete."""
    from storage.dates import to_date, to_iso

    start = clock.now_ms() + round(starts_in_days * 86_400_000)
    return {
        "title": "Jazz on the roof",
        "description": "Bring a cushion.",
        "category": "music",
        "tags": ["jazz"],
        "datetime": {
            "start": to_iso(to_date(start)),
            "end": to_iso(to_date(start + 7_200_000)),
            "timezone": "Europe/Berlin",
        },
        "location": {"type": "Point", "coordinates": [13.405, 52.52], "address": "Berlin", "venue": "The roof"},
        "pricing": {"type": "free"},
        "capacity": {"max": 50},
        "visibility": "public",
        "requirements": {"minPoints": 0, "minRating": 0, "inviteOnly": False},
    }


async def start_api(storage: Any, clock: ManualClock, settings: ApiSettings, **changes: Any) -> Api:
    """Whoever starts it closes `api.client` and `api.context.passwords`."""
    router, recommender, metrics = ScriptedRouter(), ScriptedRecommender(), CountedMetrics()
    state: dict[str, Any] = {"readiness": Readiness(hosts_linked=1, hosts_expected=1, draining=False)}
    context = ApiContext(
        **{
            "storage": storage,
            "tokens": TokenService(TokenSettings(secret="s" * 32), clock),
            "passwords": PasswordService(CHEAPEST),
            "router": router,
            "recommender": recommender,
            "metrics": metrics,
            "clock": clock,
            "readiness": lambda: state["readiness"],
            "settings": settings,
            "version": "1.2.3",
            **changes,
        }
    )
    app = web.Application()
    interface = mount(app, context)
    client = TestClient(TestServer(app))
    await client.start_server()
    api = Api(client, context, clock, router, recommender, metrics, state, interface)
    api.description = (await api.call("GET", "/v1/openapi.json")).body
    return api
