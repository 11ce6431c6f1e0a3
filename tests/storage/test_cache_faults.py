"""The two-level cache when Redis hangs, dies or is cut off, or a change's author dies: slower, never wrong for good."""

import asyncio
import random
from contextlib import AbstractAsyncContextManager

import pytest

from storage.cache import Cache
from tests.storage.cache_world import At, OpenCache, Source, clock, open_cache, redis_empty, until
from tests.support.relay import Relay
from tests.support.servers import RedisServer

__all__ = ["clock", "open_cache", "redis_empty"]

pytestmark = pytest.mark.storage

_never_left: list[AbstractAsyncContextManager[None]] = []
"""Changes whose author died; dropping one would end it."""


async def test_redis_down_means_slower_and_never_wrong(open_cache: OpenCache, own_redis_server: RedisServer) -> None:
    one, two = await open_cache(own_redis_server), await open_cache(own_redis_server)
    source = Source()
    for cache in (one, two):
        assert await cache.get_or_load("k", source.load) == "old"
    await asyncio.to_thread(own_redis_server.kill)
    await until(lambda: not one.listening and not two.listening)
    assert (one.statistics()["entries"], two.statistics()["entries"]) == (0, 0)
    source.value = "new"
    await one.invalidate("k")
    assert await two.get_or_load("k", source.load) == "new"
    assert one.statistics()["pending_invalidations"] == 1
    await asyncio.to_thread(own_redis_server.restart)
    await until(lambda: one.listening and two.listening)
    await until(lambda: one.statistics()["pending_invalidations"] == 0)
    assert await one.get_or_load("k", source.load) == "new"


async def test_an_invalidation_that_redis_missed_is_told_when_it_answers_again(
    open_cache: OpenCache, own_redis_server: RedisServer
) -> None:
    """Redis hangs while a value changes, and still holds the old one when it answers again."""
    one, two = await open_cache(own_redis_server), await open_cache(own_redis_server)
    source = Source()
    for cache in (one, two):
        await cache.get_or_load("k", source.load)
    own_redis_server.pause()
    source.value = "new"
    await one.invalidate("k")
    assert await one.get_or_load("k", source.load) == "new"
    await until(lambda: not one.listening and not two.listening)
    own_redis_server.resume()
    await until(lambda: one.statistics()["pending_invalidations"] == 0)
    await until(lambda: two.listening)
    assert await one.get_or_load("k", source.load) == "new"
    assert await two.get_or_load("k", source.load) == "new"


async def begin_change_and_die(cache: Cache, source: Source, value: str) -> None:
    """The change is durable, and the process is gone before it could say so."""
    changing = cache.changing("k")
    _never_left.append(changing)
    await changing.__aenter__()
    source.value = value
    await cache.close()


async def test_whoever_dies_over_a_change_leaves_no_old_value(open_cache: OpenCache, redis_empty: RedisServer) -> None:
    author, reader, other = [await open_cache(redis_empty) for _ in range(3)]
    source = Source()
    for cache in (author, reader, other):
        assert await cache.get_or_load("k", source.load) == "old"
    await begin_change_and_die(author, source, "new")
    for cache in (reader, other):
        await until(lambda cache=cache: cache.statistics()["entries"] == 0)
        assert await cache.get_or_load("k", source.load) == "new"


async def test_nothing_is_kept_while_a_change_is_under_way(open_cache: OpenCache, redis_empty: RedisServer) -> None:
    """What is read then may be the old value, and nobody may be left to say when it has become one."""
    author, reader = await open_cache(redis_empty), await open_cache(redis_empty)
    source = Source()
    async with author.changing("k"):
        for _ in range(2):
            assert await reader.get_or_load("k", source.load) == "old"
        assert source.reads == 2
        source.value = "new"
    for _ in range(2):
        assert await reader.get_or_load("k", source.load) == "new"
    assert source.reads == 3


async def test_whoever_dies_cut_off_from_redis_is_made_good_by_the_process_that_replaces_it(
    open_cache: OpenCache, redis_empty: RedisServer
) -> None:
    relay = Relay(("127.0.0.1", redis_empty.port))
    host, port = await relay.start()
    author = await open_cache(At(f"redis://{host}:{port}/0"))
    reader, source = await open_cache(redis_empty), Source()
    assert await reader.get_or_load("k", source.load) == "old"
    relay.stall(to_target=True, to_client=True)
    await begin_change_and_die(author, source, "new")
    relay.cut()
    assert await reader.get_or_load("k", source.load) == "old", "nobody could say so"
    replacement = await open_cache(redis_empty)
    assert await replacement.get_or_load("k", source.load) == "new"
    await until(lambda: reader.statistics()["entries"] == 0)
    assert await reader.get_or_load("k", source.load) == "new"
    await relay.stop()


@pytest.mark.parametrize("seed", range(4))
async def test_redis_killed_and_hung_at_any_moment_never_makes_a_value_wrong_for_good(
    open_cache: OpenCache, own_redis_server: RedisServer, seed: int
) -> None:
    """Seeded. Whoever changes a value reads the new one at once; when all hear Redis again, everyone does."""
    chance = random.Random(seed)
    caches = [await open_cache(own_redis_server) for _ in range(3)]
    source = Source("0")
    for number in range(1, 7):
        for cache in chance.sample(caches, 2):
            await cache.get_or_load("k", source.load)
        trouble = chance.choice([own_redis_server.kill, own_redis_server.pause, None])
        comes_first = chance.random() < 0.5
        if trouble is not None and comes_first:
            await asyncio.to_thread(trouble)
        author = chance.choice(caches)
        if chance.random() < 0.4:
            caches.remove(author)
            await begin_change_and_die(author, source, str(number))
        else:
            async with author.changing("k"):
                source.value = str(number)
                if trouble is not None and not comes_first:
                    await asyncio.to_thread(trouble)
            assert await author.get_or_load("k", source.load) == str(number)
        if trouble == own_redis_server.kill:
            await asyncio.to_thread(own_redis_server.restart)
        own_redis_server.resume()
        while len(caches) < 3:
            caches.append(await open_cache(own_redis_server))
        for cache in caches:
            await until(lambda cache=cache: cache.listening and not cache.statistics()["pending_invalidations"])
        await until_all_read(caches, source)


async def until_all_read(caches: list[Cache], source: Source) -> None:
    async with asyncio.timeout(10):
        for cache in caches:
            while await cache.get_or_load("k", source.load) != source.value:  # noqa: ASYNC110 — a message is on its way
                await asyncio.sleep(0.005)
