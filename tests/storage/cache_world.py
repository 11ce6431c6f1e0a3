"""Caches on real Redis for tests, and a source of truth that counts its reads."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import NamedTuple

import pytest

from cluster.kernel.clock import ManualClock
from storage.cache import Cache
from storage.redis_client import RedisClient
from tests.support.servers import RedisServer

OpenCache = Callable[..., Awaitable[Cache]]


class At(NamedTuple):
    """A Redis at another address than its own."""

    uri: str


class Source:
    """A slow source of truth that counts its reads; `gate` holds them up."""

    def __init__(self, value: object = "old") -> None:
        self.value = value
        self.reads = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.reading = asyncio.Event()

    async def load(self) -> object:
        self.reads += 1
        value = self.value
        self.reading.set()
        await self.gate.wait()
        return value


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 — the conditions are gauges, which nobody announces
            await asyncio.sleep(0.005)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def open_cache(clock: ManualClock) -> AsyncIterator[OpenCache]:
    opened: list[Cache] = []

    async def open_one(server: RedisServer | At | None, *, max_bytes: int = 1_000_000) -> Cache:
        redis = None if server is None else RedisClient(server.uri, pool_size=4, timeout_ms=250)
        cache = Cache(redis, clock, max_bytes=max_bytes, ttl_s=3_600, lonely_ttl_s=5)
        await cache.start()
        opened.append(cache)
        if server is not None:
            await until(lambda: cache.listening)
            await _told_everyone(cache)
        return cache

    yield open_one
    for cache in opened:
        await cache.close()


async def _told_everyone(newcomer: Cache) -> None:
    """What a newcomer tells all listeners has arrived, at the newcomer too."""
    mark = Source("mark")
    await newcomer.get_or_load("mark of a newcomer", mark.load)
    await newcomer.invalidate("mark of a newcomer")


@pytest.fixture
def redis_empty(redis_server: RedisServer) -> RedisServer:
    redis_server.empty()
    return redis_server
