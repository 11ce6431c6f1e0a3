"""Signing in and staying signed in."""

import asyncio

import jwt
import pytest

from cluster.kernel.errors import OVERLOADED, FlowError
from realtime.http.settings import ApiSettings
from realtime.limits import Rate
from tests.http.conftest import StartApi
from tests.http.harness import PASSWORD, Api

pytestmark = pytest.mark.storage


async def test_register_answers_with_tokens_and_the_account_but_never_the_hash(api: Api) -> None:
    made = await api.call(
        "POST",
        "/v1/auth/register",
        {
            "username": "Ada",
            "password": PASSWORD,
            "email": "Ada@example.org",
            "interests": ["Jazz ", "jazz", "python"],
            "location": {"type": "Point", "coordinates": [13.4, 52.5]},
        },
    )
    assert made.status == 201
    user = made.body["user"]
    assert user["username"] == user["profile"]["name"] == "Ada"
    assert user["email"] == "ada@example.org"
    assert user["profile"]["interests"] == ["jazz", "python"]
    assert user["profile"]["location"] == {"type": "Point", "coordinates": [13.4, 52.5]}
    assert made.body["expiresAt"].endswith("Z")
    assert "argon2" not in str(made.body)
    assert "password" not in str(made.body).lower()
    assert made.headers["Cache-Control"] == "no-store"
    me = await api.call("GET", "/v1/users/me", token=made.body["accessToken"])
    assert me.status == 200
    assert me.body["id"] == user["id"]


@pytest.mark.parametrize(
    "other", [{"username": "GRACE"}, {"username": "grace2", "email": "grace@EXAMPLE.org"}], ids=["username", "email"]
)
async def test_usernames_and_emails_are_taken_without_regard_to_case(api: Api, other: dict[str, str]) -> None:
    _ = await api.someone(username="grace", email="grace@example.org")
    again = await api.call("POST", "/v1/auth/register", {"password": PASSWORD, **other})
    assert (again.status, again.code) == (409, "username_taken")


async def test_two_who_register_one_name_at_once_make_one_account(api: Api) -> None:
    body = {"username": "racer", "password": PASSWORD}
    answers = await asyncio.gather(*(api.call("POST", "/v1/auth/register", body) for _ in range(8)))
    assert sorted(answer.status for answer in answers) == [201] + [409] * 7


async def test_an_unknown_user_and_a_wrong_password_get_the_same_answer(api: Api) -> None:
    ada = await api.someone()
    wrong = await api.call("POST", "/v1/auth/login", {"username": ada.username, "password": "wrong password"})
    unknown = await api.call("POST", "/v1/auth/login", {"username": "nobody-here", "password": "wrong password"})
    for answer in (wrong, unknown):
        answer.body.pop("requestId")
    assert (wrong.status, wrong.body) == (unknown.status, unknown.body)
    assert wrong.code == "bad_credentials"
    assert wrong.headers["WWW-Authenticate"].startswith("Bearer")
    right = await api.call("POST", "/v1/auth/login", {"username": ada.username.upper(), "password": PASSWORD})
    assert right.status == 200
    assert right.body["user"]["id"] == ada.id


async def test_an_unknown_user_costs_a_hash_too(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str | None] = []
    verify = type(api.context.passwords).verify

    async def counted(self, password_hash, password):
        asked.append(password_hash)
        return await verify(self, password_hash, password)

    monkeypatch.setattr(type(api.context.passwords), "verify", counted)
    _ = await api.call("POST", "/v1/auth/login", {"username": "nobody-here", "password": "wrong password"})
    assert asked == [None], "the password service hashes against a decoy when there is no hash"


async def test_a_username_is_guessed_at_slowly_wherever_the_guesses_come_from(start: StartApi) -> None:
    api = await start(ApiSettings(sign_ins_per_username=Rate(0.1, 3)))
    ada, grace = await api.someone(), await api.someone()
    guess = {"username": ada.username, "password": "wrong password"}
    assert [(await api.call("POST", "/v1/auth/login", guess)).status for _ in range(3)] == [401] * 3
    refused = await api.call("POST", "/v1/auth/login", {**guess, "username": ada.username.upper()})
    assert (refused.status, refused.code) == (429, "rate_limited")
    assert refused.body["retryable"] is True
    assert refused.body["retryAfterMs"] == 10_000
    assert refused.headers["Retry-After"] == "10"
    assert api.interface.statistics()["http_sign_in_username_refused"] == 1
    other = {"username": grace.username, "password": PASSWORD}
    assert (await api.call("POST", "/v1/auth/login", other)).status == 200
    api.clock.advance(10)
    assert (await api.call("POST", "/v1/auth/login", {**guess, "password": PASSWORD})).status == 200


async def test_an_address_signs_in_at_a_bounded_rate(start: StartApi) -> None:
    api = await start(ApiSettings(sign_ins_per_address=Rate(1.0, 2), registrations_per_address=Rate(1.0, 1)))
    for n in range(2):
        _ = await api.call("POST", "/v1/auth/login", {"username": f"someone{n}", "password": PASSWORD})
    assert (await api.call("POST", "/v1/auth/login", {"username": "third", "password": PASSWORD})).status == 429
    assert (await api.call("POST", "/v1/auth/refresh", {"refreshToken": "x"})).status == 429
    _ = await api.someone()
    assert (await api.call("POST", "/v1/auth/register", {"username": "more", "password": PASSWORD})).status == 429


async def test_addresses_behind_ones_own_proxy_are_told_apart(start: StartApi) -> None:
    settings = ApiSettings(sign_ins_per_address=Rate(1.0, 1), trusted_proxies=1)
    api = await start(settings)
    guess = {"username": "nobody-here", "password": PASSWORD}

    async def from_address(forwarded: str) -> int:
        return (await api.call("POST", "/v1/auth/login", guess, headers={"X-Forwarded-For": forwarded})).status

    assert await from_address("192.0.2.1") == 401
    assert await from_address("192.0.2.1") == 429
    assert await from_address("203.0.113.9, 192.0.2.1") == 429, "what the client wrote itself is not believed"
    assert await from_address("192.0.2.2") == 401


async def test_a_refresh_token_is_good_once_and_a_second_use_ends_the_session(api: Api) -> None:
    ada = await api.someone()
    first = await api.call("POST", "/v1/auth/refresh", {"refreshToken": ada.refresh_token})
    assert first.status == 200
    assert first.body["user"]["id"] == ada.id
    assert first.body["refreshToken"] != ada.refresh_token
    retried = await api.call("POST", "/v1/auth/refresh", {"refreshToken": ada.refresh_token})
    assert retried.body["refreshToken"] == first.body["refreshToken"], "a lost answer is given again"
    api.clock.advance(60)
    stolen = await api.call("POST", "/v1/auth/refresh", {"refreshToken": ada.refresh_token})
    assert (stolen.status, stolen.code) == (401, "unauthenticated")
    ended = await api.call("POST", "/v1/auth/refresh", {"refreshToken": first.body["refreshToken"]})
    assert ended.status == 401


async def test_the_tokens_of_one_session_name_that_session(api: Api) -> None:
    ada = await api.someone()
    renewed = await api.call("POST", "/v1/auth/refresh", {"refreshToken": ada.refresh_token})
    before = api.context.tokens.verify(ada.token)
    after = api.context.tokens.verify(renewed.body["accessToken"])
    assert before.session_id == after.session_id
    assert before.token_id != after.token_id


@pytest.mark.parametrize("by", ["access", "refresh"])
async def test_logging_out_ends_the_session_by_either_token(api: Api, by: str) -> None:
    ada = await api.someone()
    other = await api.call("POST", "/v1/auth/login", {"username": ada.username, "password": PASSWORD})
    if by == "access":
        left = await api.call("POST", "/v1/auth/logout", who=ada)
    else:
        left = await api.call("POST", "/v1/auth/logout", {"refreshToken": ada.refresh_token}, token="expired")
    assert (left.status, left.body) == (204, "")
    [told] = api.router.of("topic.publish")
    session_id = api.context.tokens.verify(ada.token).session_id
    assert (told.key, told.body.body) == ("topic/revocations", {"sessionId": session_id})
    assert (await api.call("POST", "/v1/auth/refresh", {"refreshToken": ada.refresh_token})).status == 401
    still = await api.call("POST", "/v1/auth/refresh", {"refreshToken": other.body["refreshToken"]})
    assert still.status == 200, "other devices stay signed in"


async def test_logging_out_of_nothing_is_refused(api: Api) -> None:
    assert (await api.call("POST", "/v1/auth/logout")).status == 401


async def test_an_access_token_expires(api: Api) -> None:
    ada = await api.someone()
    api.clock.advance(901)
    late = await api.call("GET", "/v1/users/me", who=ada)
    assert (late.status, late.code) == (401, "token_expired")
    renewed = await api.call("POST", "/v1/auth/refresh", {"refreshToken": ada.refresh_token})
    assert (await api.call("GET", "/v1/users/me", token=renewed.body["accessToken"])).status == 200


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer nonsense",
        "Basic YWRhOmFkYQ==",
        "Bearer " + "x" * 5_000,
        "Bearer " + jwt.encode({"sub": "f" * 24}, "another secret of at least 32 bytes", algorithm="HS256"),
        "Bearer " + jwt.encode({"sub": "f" * 24}, None, algorithm="none"),
    ],
)
async def test_nothing_but_a_token_of_ours_is_taken(api: Api, header: str) -> None:
    answer = await api.call("GET", "/v1/users/me", headers={"Authorization": header})
    assert (answer.status, answer.code) == (401, "unauthenticated")


async def test_too_many_hashes_at_once_are_refused_not_queued(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(self, password):
        raise FlowError(OVERLOADED, retry_after_ms=1_000)

    monkeypatch.setattr(type(api.context.passwords), "hash", full)
    refused = await api.call("POST", "/v1/auth/register", {"username": "late", "password": PASSWORD})
    assert (refused.status, refused.code) == (503, "overloaded")
    assert refused.headers["Retry-After"] == "1"
