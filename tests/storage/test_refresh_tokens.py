"""Refresh tokens on real MongoDB: single use, one successor within the grace, and the end of a family."""

import asyncio

import pytest

from cluster.kernel.clock import ManualClock
from cluster.kernel.errors import UNAUTHENTICATED, FlowError
from storage.refresh_tokens import RefreshTokens
from tests.conftest import OpenDatabase

pytestmark = pytest.mark.storage

DAY_MS = 24 * 3_600_000


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(4_000_000_000_000)  # far ahead, so that the server's own expiry stays out of it


@pytest.fixture
async def tokens(open_database: OpenDatabase, clock: ManualClock) -> RefreshTokens:
    database = await open_database("refresh_tokens", "refresh_families")
    return RefreshTokens(database, clock, ttl_ms=30 * DAY_MS, grace_ms=30_000)


async def refused(tokens: RefreshTokens, token: str) -> None:
    with pytest.raises(FlowError) as caught:
        await tokens.rotate(token)
    assert caught.value.kind is UNAUTHENTICATED


async def test_each_use_gives_the_next_token(tokens: RefreshTokens, clock: ManualClock) -> None:
    first = await tokens.issue("anna")
    seen = {first.token}
    current = first
    for _ in range(5):
        clock.advance(3_600)
        current = await tokens.rotate(current.token)
        assert (current.user_id, current.family_id) == ("anna", first.family_id)
        assert current.expires_at_ms == clock.now_ms() + 30 * DAY_MS
        seen.add(current.token)
    assert len(seen) == 6


async def test_a_retry_within_the_grace_gets_the_same_successor(tokens: RefreshTokens, clock: ManualClock) -> None:
    first = await tokens.issue("anna")
    second = await tokens.rotate(first.token)
    clock.advance(30)
    assert await tokens.rotate(first.token) == second
    await tokens.rotate(second.token)


async def test_uses_at_once_all_get_the_same_successor(tokens: RefreshTokens) -> None:
    first = await tokens.issue("anna")
    given = await asyncio.gather(*(tokens.rotate(first.token) for _ in range(10)))
    assert len({one.token for one in given}) == 1


async def test_a_later_use_ends_the_whole_family(tokens: RefreshTokens, clock: ManualClock) -> None:
    first, other = await tokens.issue("anna"), await tokens.issue("anna")
    second = await tokens.rotate(first.token)
    third = await tokens.rotate(second.token)
    clock.advance(30.001)
    await refused(tokens, first.token)
    for token in (second.token, third.token):
        await refused(tokens, token)
    await tokens.rotate(other.token)


async def test_a_crash_between_use_and_answer_is_made_good(open_database: OpenDatabase, clock: ManualClock) -> None:
    database = await open_database("refresh_tokens", "refresh_families")
    tokens = RefreshTokens(database, clock, ttl_ms=DAY_MS, grace_ms=30_000)
    first = await tokens.issue("anna")
    second = await tokens.rotate(first.token)
    await database.collection("refresh_tokens").delete_one({"used_at_ms": None})  # the successor was never written
    assert (await tokens.rotate(first.token)).token == second.token
    await tokens.rotate(second.token)


async def test_tokens_end_with_their_time(tokens: RefreshTokens, clock: ManualClock) -> None:
    first = await tokens.issue("anna")
    clock.advance(30 * 24 * 3_600)
    await refused(tokens, first.token)


async def test_logging_out_ends_one_family_and_a_new_password_all(tokens: RefreshTokens) -> None:
    first, second, foreign = await tokens.issue("anna"), await tokens.issue("anna"), await tokens.issue("ben")
    assert await tokens.revoke(first.token) == first.family_id
    families = [token.family_id for token in (first, second, foreign)]
    assert await tokens.revoked_among([*families, "unknown"]) == {first.family_id}
    assert await tokens.revoked_among([]) == set()
    await refused(tokens, first.token)
    assert await tokens.revoke_user("anna") == 1
    await refused(tokens, second.token)
    await tokens.rotate(foreign.token)
    assert await tokens.revoke("unknown") is None


@pytest.mark.parametrize("token", ["", "unknown", "x" * 5_000, "\ud800", "ünï"])
async def test_what_was_never_issued_is_refused(tokens: RefreshTokens, token: str) -> None:
    await refused(tokens, token)


async def test_no_token_is_stored(open_database: OpenDatabase, clock: ManualClock) -> None:
    database = await open_database("refresh_tokens", "refresh_families")
    tokens = RefreshTokens(database, clock, ttl_ms=DAY_MS, grace_ms=30_000)
    first = await tokens.issue("anna")
    second = await tokens.rotate(first.token)
    stored = [await database.collection(name).find({}, limit=10) for name in ("refresh_tokens", "refresh_families")]
    assert first.token not in repr(stored)
    assert second.token not in repr(stored)
