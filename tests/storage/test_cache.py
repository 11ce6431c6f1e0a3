"""The two-level cache on real Redis: one load for many, invalidation everywhere, and what it does without Redis."""

import asyncio

import pytest

from cluster.kernel.clock import ManualClock
from cluster.kernel.errors import UNAVAILABLE, FlowError
from storage.cache import Cache, event_cache_key, recommendations_cache_key, session_cache_key
from storage.redis_client import RedisClient
from tests.storage.cache_world import OpenCache, Source, clock, open_cache, redis_empty, until
from tests.support.servers import RedisServer

pytestmark = pytest.mark.storage

__all__ = ["clock", "open_cache", "redis_empty"]


def test_keys_are_those_that_clients_of_redis_know() -> None:
    keys = event_cache_key("1"), session_cache_key("1"), recommendations_cache_key("1")
    assert keys == ("event:1", "user:session:1", "recommendations:1")


async def test_a_value_is_loaded_once_for_all_processes(open_cache: OpenCache, redis_empty: RedisServer) -> None:
    one, two = await open_cache(redis_empty), await open_cache(redis_empty)
    source = Source({"title": "Konzert ♫", "tags": ["a"]})
    for cache in (one, one, two, two):
        assert await cache.get_or_load("event:1", source.load) == {"title": "Konzert ♫", "tags": ["a"]}
    assert source.reads == 1
    assert (one.statistics()["memory_hits"], two.statistics()["redis_hits"], two.statistics()["memory_hits"]) == (
        1,
        1,
        1,
    )


async def test_what_is_returned_is_the_callers_own(open_cache: OpenCache) -> None:
    cache, source = await open_cache(None), Source({"tags": ["a"]})
    first = await cache.get_or_load("k", source.load)
    first["tags"].append("b")
    assert await cache.get_or_load("k", source.load) == {"tags": ["a"]}


async def test_a_stampede_loads_once(open_cache: OpenCache, redis_empty: RedisServer) -> None:
    cache, source = await open_cache(redis_empty), Source()
    source.gate.clear()
    callers = [asyncio.create_task(cache.get_or_load("k", source.load)) for _ in range(200)]
    await source.reading.wait()
    callers[0].cancel()
    source.gate.set()
    results = await asyncio.gather(*callers, return_exceptions=True)
    assert results[1:] == ["old"] * 199
    assert isinstance(results[0], asyncio.CancelledError)
    assert source.reads == 1


async def test_a_failed_load_fails_all_who_wait_and_is_tried_again(open_cache: OpenCache) -> None:
    cache, failing = await open_cache(None), True

    async def load() -> str:
        if failing:
            raise FlowError(UNAVAILABLE)
        return "value"

    results = await asyncio.gather(*(cache.get_or_load("k", load) for _ in range(3)), return_exceptions=True)
    assert all(isinstance(result, FlowError) for result in results)
    failing = False
    assert await cache.get_or_load("k", load) == "value"


async def test_nothing_found_is_not_kept(open_cache: OpenCache, redis_empty: RedisServer) -> None:
    cache, source = await open_cache(redis_empty), Source(None)
    for _ in range(2):
        assert await cache.get_or_load("k", source.load) is None
    assert source.reads == 2


async def test_values_end_with_their_time_in_both_levels(
    open_cache: OpenCache, redis_empty: RedisServer, clock: ManualClock
) -> None:
    cache, other, source = await open_cache(redis_empty), await open_cache(redis_empty), Source()
    await cache.get_or_load("k", source.load, ttl_s=60)
    clock.advance(59)
    assert await other.get_or_load("k", source.load) == "old"  # from Redis, for the second that is left
    source.value = "new"
    clock.advance(1)
    redis_empty.empty()  # Redis counts real time
    assert await other.get_or_load("k", source.load) == "new"
    assert source.reads == 2


async def test_an_invalidation_reaches_every_process(open_cache: OpenCache, redis_empty: RedisServer) -> None:
    caches = [await open_cache(redis_empty) for _ in range(3)]
    source = Source()
    for cache in caches:
        assert await cache.get_or_load("k", source.load) == "old"
    source.value = "new"
    await caches[0].invalidate("k")
    assert await caches[0].get_or_load("k", source.load) == "new"
    for cache in caches[1:]:
        await until(lambda cache=cache: cache.statistics()["entries"] == 0)
        assert await cache.get_or_load("k", source.load) == "new"
    assert source.reads == 2


async def test_a_slow_load_cannot_bring_an_old_value_back(open_cache: OpenCache, redis_empty: RedisServer) -> None:
    """It read before the change and answers after it, in this process and through Redis in another."""
    slow, changer = await open_cache(redis_empty), await open_cache(redis_empty)
    source = Source()
    source.gate.clear()
    reading = asyncio.create_task(slow.get_or_load("k", source.load))
    await source.reading.wait()
    source.value = "new"
    await changer.invalidate("k")
    source.gate.set()
    assert await reading == "old"  # it asked before the change
    await until(lambda: slow.statistics()["entries"] == 0)
    assert await changer.get_or_load("k", source.load) == "new"
    assert await slow.get_or_load("k", source.load) == "new"


async def test_who_asks_after_an_invalidation_does_not_join_an_older_load(open_cache: OpenCache) -> None:
    cache, source = await open_cache(None), Source()
    source.gate.clear()
    before = asyncio.create_task(cache.get_or_load("k", source.load))
    await source.reading.wait()
    source.value = "new"
    await cache.invalidate("k")
    after = asyncio.create_task(cache.get_or_load("k", source.load))
    await until(lambda: source.reads == 2)
    source.gate.set()
    assert (await before, await after) == ("old", "new")
    assert await cache.get_or_load("k", source.load) == "new"


async def test_memory_is_bounded_in_bytes(open_cache: OpenCache) -> None:
    cache = await open_cache(None, max_bytes=20_000)

    async def load() -> str:
        return "x" * 500

    for n in range(200):
        await cache.get_or_load(f"k{n}", load)
        assert cache.statistics()["bytes"] <= 20_000
    assert cache.statistics()["evicted"] > 100
    large = Source("x" * 10_000)
    for _ in range(2):
        await cache.get_or_load("large", large.load)
    assert large.reads == 2


class Shelf:
    """Values by key, read many at once; `gate` holds the reading up."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.asked: list[list[str]] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def load(self, keys: list[str]) -> dict[str, bytes]:
        self.asked.append(keys)
        found = {key: self.values[key] for key in keys if key in self.values}
        await self.gate.wait()
        return found

    async def get(self, cache: Cache, *keys: str) -> dict[str, bytes]:
        return await cache.get_many(keys, self.load, ttl_s=30)


async def test_many_are_read_at_once_and_only_those_that_memory_lacks(
    open_cache: OpenCache, redis_empty: RedisServer, clock: ManualClock
) -> None:
    cache, shelf = await open_cache(redis_empty), Shelf()
    shelf.values = {"a": b"1", "b": b"2", "c": b"3"}
    assert await shelf.get(cache, "a", "none", "b") == {"a": b"1", "b": b"2"}
    assert await shelf.get(cache, "a", "b", "c") == shelf.values
    assert await shelf.get(cache, "c", "a") == {"a": b"1", "c": b"3"}
    assert shelf.asked == [["a", "none", "b"], ["c"]]
    clock.advance(30)
    assert await shelf.get(cache, "a") == {"a": b"1"}
    assert shelf.asked[2:] == [["a"]]


async def test_a_change_elsewhere_reaches_what_was_read_by_the_dozen(
    open_cache: OpenCache, redis_empty: RedisServer
) -> None:
    reader, writer, shelf = await open_cache(redis_empty), await open_cache(redis_empty), Shelf()
    shelf.values = {"a": b"old", "b": b"old"}
    await shelf.get(reader, "a", "b")
    async with writer.changing("a"):
        shelf.values["a"] = b"new"
    await until(lambda: not reader.holds("a"))
    assert await shelf.get(reader, "a", "b") == {"a": b"new", "b": b"old"}


@pytest.mark.parametrize("everything", [False, True])
async def test_a_slow_reading_of_many_keeps_nothing_that_changed_meanwhile(
    open_cache: OpenCache, everything: bool
) -> None:
    cache, shelf = await open_cache(None), Shelf()
    shelf.values = {"a": b"old", "b": b"old"}
    shelf.gate.clear()
    slow = asyncio.create_task(shelf.get(cache, "a", "b"))
    await until(lambda: len(shelf.asked) == 1)
    assert cache.statistics()["reading_many"] == 1
    shelf.values["a"] = b"new"
    if everything:
        cache._forget_all()
    else:
        await cache.invalidate("a")
    shelf.gate.set()
    assert await slow == {"a": b"old", "b": b"old"}
    assert (cache.holds("a"), cache.holds("b")) == (False, not everything)
    assert (await shelf.get(cache, "a"))["a"] == b"new"
    assert cache.statistics()["reading_many"] == 0


async def test_round_trips_to_redis_are_shared_and_each_key_keeps_its_own_stamp(redis_empty: RedisServer) -> None:
    redis = RedisClient(redis_empty.uri, pool_size=4, timeout_ms=1_000)
    keys = [f"k{n}" for n in range(100)]
    before = await asyncio.gather(*map(redis.read, keys))
    assert redis._reads.reads <= 4
    await redis.invalidate(keys[::2], "stamp", "channel", b"")
    puts = (redis.put(key, key.encode(), 60_000, one.stamp) for key, one in zip(keys, before, strict=True) if one)
    assert await asyncio.gather(*puts) == [True] * 100
    assert redis._puts.reads <= 9
    after = await asyncio.gather(*map(redis.read, keys))
    assert [one.value for one in after if one] == [None if n % 2 == 0 else key.encode() for n, key in enumerate(keys)]
    await redis.close()


async def test_without_redis_values_live_shortly(open_cache: OpenCache, clock: ManualClock) -> None:
    cache, source = await open_cache(None), Source()
    await cache.get_or_load("k", source.load)
    clock.advance(4.9)
    await cache.get_or_load("k", source.load)
    assert source.reads == 1
    clock.advance(0.1)
    await cache.get_or_load("k", source.load)
    assert source.reads == 2


async def test_redis_keeps_no_value_that_was_read_before_a_change(redis_empty: RedisServer) -> None:
    """Even from a process that was never told of the change."""
    redis = RedisClient(redis_empty.uri, pool_size=2, timeout_ms=1_000)
    before = await redis.read("k")
    assert before is not None
    assert await redis.put("other", b"value", 60_000, b"") is True
    assert await redis.invalidate(["k"], "stamp", "channel", b"") is True
    await redis.put("k", b"old", 60_000, before.stamp)
    after = await redis.read("k")
    assert after is not None
    assert after.value is None
    await redis.put("k", b"new", 60_000, after.stamp)
    assert (await redis.read("k")).value == b"new"
    await redis.close()
