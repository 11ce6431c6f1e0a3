"""Whatever goes wrong: one shape of answer, a row of the table, and nothing of what is inside."""

import asyncio
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from cluster.kernel.errors import INTERNAL, SETTINGS_INVALID, TABLE, FlowError
from realtime.http.api import mount
from realtime.http.settings import ApiSettings
from realtime.limits import Rate
from tests.http.conftest import StartApi
from tests.http.harness import PASSWORD, Api

pytestmark = pytest.mark.storage


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("POST", "/v1/nothing", 404, "not_found"),
        ("GET", "/v1/events/", 404, "not_found"),
        ("DELETE", "/v1/events", 405, "method_not_allowed"),
        ("PUT", "/v1/users/me", 405, "method_not_allowed"),
        ("OPTIONS", "/v1/events", 405, "method_not_allowed"),
        ("GET", "/v1/users/me", 401, "unauthenticated"),
        ("GET", "/..%2f..%2fetc/passwd", 404, "not_found"),
    ],
)
async def test_every_refusal_is_a_problem(api: Api, method: str, path: str, status: int, code: str) -> None:
    refused = await api.call(method, path)
    assert refused.headers["Content-Type"] == "application/problem+json"
    body = refused.body
    assert (refused.status, body["status"], body["code"]) == (status, status, code)
    assert body["title"] == TABLE[code].message
    assert body["type"] == f"/docs#problem-{code}"
    assert body["retryable"] is TABLE[code].retryable
    assert body["requestId"] == refused.headers["X-Request-Id"]


async def test_a_refused_method_says_which_are_taken(api: Api) -> None:
    refused = await api.call("DELETE", "/v1/events")
    assert set(refused.headers["Allow"].split(",")) >= {"GET", "POST"}


@pytest.mark.parametrize("raw", [b"{", b"[]", b"null", b"\xff\xfe", b"[" * 60_000, b'{"username": "\\ud800"}'])
async def test_broken_bodies_are_refused(api: Api, raw: bytes) -> None:
    refused = await api.call("POST", "/v1/auth/login", data=raw)
    assert (refused.status, refused.code) == (400, "invalid_request")


async def test_a_body_over_the_limit_is_refused_whether_its_length_is_told_or_not(api: Api) -> None:
    body = b'{"username": "' + b"x" * 70_000 + b'"}'

    async def in_pieces():
        for start in range(0, len(body), 1_000):
            yield body[start : start + 1_000]

    for data in (body, in_pieces()):
        refused = await api.call("POST", "/v1/auth/login", data=data)
        assert (refused.status, refused.code) == (413, "too_large")
    assert (await api.call("GET", "/healthz")).status == 200


async def test_a_body_is_not_read_for_somebody_who_may_not_ask(api: Api) -> None:
    refused = await api.call("POST", "/v1/events", data=b"x" * 70_000)
    assert refused.code == "unauthenticated"


async def test_a_mistake_of_the_servers_shows_nothing_of_itself(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    ada = await api.someone()

    def wrong(_: Any) -> Any:
        raise KeyError("a secret inside")

    api.router.answers["chat.history"] = wrong
    refused = await api.call("GET", f"/v1/rooms/{'a' * 24}/messages", who=ada, headers={"X-Request-Id": "find-me"})
    assert (refused.status, refused.code) == (500, "internal")
    assert refused.body["detail"] == INTERNAL.message
    assert "secret" not in str(refused.body)
    assert "Traceback" not in str(refused.body)
    assert "find-me" in caplog.text
    assert "a secret inside" in caplog.text


async def test_a_request_has_a_deadline(start: StartApi) -> None:
    api = await start(ApiSettings(deadline_s=0.05, command_timeout_s=0.05, recommendation_deadline_ms=10))
    ada_id = "a" * 24
    token, _ = api.context.tokens.issue(ada_id, "ada", "session")
    stopped = asyncio.Event()

    async def hang(*_: Any, **__: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    api.router.command = hang
    refused = await api.call("GET", f"/v1/rooms/{'a' * 24}/messages", token=token)
    assert (refused.status, refused.code) == (504, "deadline_exceeded")
    assert stopped.is_set(), "the handler was cancelled, not left behind"


async def test_a_timeout_inside_is_a_mistake_and_not_the_deadline(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    ada = await api.someone()

    def late(_: Any) -> Any:
        raise TimeoutError

    api.router.answers["chat.history"] = late
    assert (await api.call("GET", f"/v1/rooms/{'a' * 24}/messages", who=ada)).code == "internal"
    assert "TimeoutError" in caplog.text


async def test_request_ids_are_taken_when_they_are_plain_and_made_otherwise(api: Api) -> None:
    given = await api.call("GET", "/healthz", headers={"X-Request-Id": "trace-1.a_B"})
    assert given.headers["X-Request-Id"] == "trace-1.a_B"
    for bad in ("has space", "x" * 65, "<script>", ""):
        made = await api.call("GET", "/healthz", headers={"X-Request-Id": bad})
        assert made.headers["X-Request-Id"] != bad
        assert len(made.headers["X-Request-Id"]) == 24


async def test_a_person_asks_at_a_bounded_rate_and_others_are_not_slowed(start: StartApi) -> None:
    api = await start(ApiSettings(requests_per_user=Rate(1.0, 3)))
    ada, bob = await api.someone(), await api.someone()
    statuses = [(await api.call("GET", "/v1/users/me", who=ada)).status for _ in range(4)]
    assert statuses == [200, 200, 200, 429]
    assert (await api.call("GET", "/v1/users/me", who=bob)).status == 200
    again = await api.call("POST", "/v1/auth/login", {"username": ada.username, "password": PASSWORD})
    other_session = await api.call("GET", "/v1/users/me", token=again.body["accessToken"])
    assert other_session.status == 429, "another session is the same person"
    api.clock.advance(1)
    assert (await api.call("GET", "/v1/users/me", who=ada)).status == 200


async def test_security_headers_are_on_every_answer(api: Api) -> None:
    for path in ("/healthz", "/nowhere", "/v1/openapi.json", "/docs", "/metrics", "/"):
        headers = (await api.call("GET", path)).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert "Strict-Transport-Security" in headers


# --- cross-origin -----------------------------------------------------------------------------------------------------

ORIGIN = "https://app.example.org"
PREFLIGHT = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}


async def test_no_site_may_ask_unless_it_is_listed(api: Api) -> None:
    answer = await api.call("GET", "/healthz", headers={"Origin": ORIGIN})
    preflight = await api.call("OPTIONS", "/v1/events", headers=PREFLIGHT)
    for headers in (answer.headers, preflight.headers):
        assert not [name for name in headers if name.lower().startswith("access-control")]


async def test_a_listed_site_may_ask_and_no_other(start: StartApi) -> None:
    api = await start(ApiSettings(cors_origins=(ORIGIN,)))
    preflight = await api.call("OPTIONS", "/v1/events", headers=PREFLIGHT)
    assert preflight.status == 204
    assert preflight.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert "POST" in preflight.headers["Access-Control-Allow-Methods"]
    assert "Authorization" in preflight.headers["Access-Control-Allow-Headers"]
    assert "Access-Control-Allow-Credentials" not in preflight.headers
    refused = await api.call("GET", "/v1/users/me", headers={"Origin": ORIGIN})
    assert refused.headers["Access-Control-Allow-Origin"] == ORIGIN, "a page must be able to read why it was refused"
    for other in ("https://evil.example.org", "http://app.example.org", ORIGIN + ":8443", "null", ORIGIN.upper()):
        answer = await api.call("GET", "/healthz", headers={"Origin": other})
        assert "Access-Control-Allow-Origin" not in answer.headers
        assert answer.headers["Vary"] == "Origin"


@pytest.mark.parametrize("origin", ["*", "https://*.example.org", "app.example.org", "https://app.example.org/"])
async def test_what_is_no_origin_cannot_be_listed(start: StartApi, origin: str) -> None:
    with pytest.raises(FlowError) as caught:
        _ = await start(ApiSettings(cors_origins=(origin,)))
    assert caught.value.kind is SETTINGS_INVALID


async def test_other_routes_of_the_application_are_left_alone(api: Api) -> None:
    """The socket engine lives on the same application: no deadline, no headers, no problems for its routes."""
    app = web.Application()
    mount(app, api.context)

    async def other(request: web.Request) -> web.Response:
        return web.Response(status=400, text="mine")

    app.router.add_get("/socket.io/", other)
    async with TestClient(TestServer(app)) as client, client.get("/socket.io/") as response:
        assert (response.status, await response.text()) == (400, "mine")
        assert "X-Request-Id" not in response.headers


@pytest.mark.parametrize(
    "wrong",
    [
        {"deadline_s": 0},
        {"command_timeout_s": 11},
        {"recommendation_deadline_ms": 0},
        {"recommendation_list_wait_ms": 0},
        {"recommendation_deadline_ms": 20_000},
        {"trusted_proxies": -1},
    ],
)
def test_settings_that_cannot_work_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must"):
        ApiSettings(**wrong)


# --- clients that break off -------------------------------------------------------------------------------------------


async def raw(api: Api, *pieces: bytes) -> bytes:
    """What the server answers to these bytes until it closes or the client does."""
    reader, writer = await asyncio.open_connection("127.0.0.1", api.client.port)
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
    writer.write_eof()
    try:
        async with asyncio.timeout(10):
            return await reader.read()
    finally:
        writer.close()


HEAD = b"POST /v1/auth/login HTTP/1.1\r\nHost: flow\r\n"


async def test_a_client_that_leaves_in_the_middle_of_a_body_is_no_mistake_of_the_servers(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    _ = await raw(api, HEAD + b"Content-Length: 100\r\n\r\n", b'{"username"')
    assert (await api.call("GET", "/healthz")).status == 200
    assert "failed" not in caplog.text


async def test_a_broken_chunk_is_the_clients_mistake(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    answer = await raw(api, HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"zz\r\nnot a chunk\r\n")
    assert answer == b"" or b" 400 " in answer.split(b"\r\n")[0]
    assert (await api.call("GET", "/healthz")).status == 200
    assert "failed" not in caplog.text
