"""The two-level cache: process memory first, Redis behind it, the loader behind both.

Used by whoever reads the same document often. It promises: many misses at once load once; what `get_or_load` returns is
the caller's own copy; after `invalidate` this process never returns the old value, and others stop within the time a
Redis message takes. When Redis is away memory forgets everything it held and keeps new values for `lonely_ttl_s` alone,
so a lost message matters no longer than that. Redis down means slower, never wrong. It holds nothing that exists
nowhere else.

Whoever changes a value does it inside `changing`: the old value is gone from Redis before the change begins, so that a
process which dies over it leaves no old value behind. And each process that is new or has lost touch with Redis begins
a new generation when it hears Redis, and reads nothing there before: somebody may have died whose invalidation never
arrived. See docs/decisions/0012.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from cluster.kernel.clock import Clock
from cluster.kernel.errors import OVERLOADED, FlowError
from cluster.kernel.ids import new_id
from cluster.kernel.tasks import TaskOwner
from storage.memory_level import MemoryLevel
from storage.redis_client import Found, RedisClient

_CHANNEL: Final = "flow:invalidate"
_EVERYTHING: Final = b""
"""The message that invalidates whatever anybody holds."""
_MOST_LOADS: Final = 1_000
_MOST_PENDING: Final = 10_000
_FIRST_WAIT_S: Final = 0.1
_LONGEST_WAIT_S: Final = 2.0
_TELL_AGAIN_S: Final = 0.25
_TOLD_AT_ONCE: Final = 500

Load = Callable[[], Awaitable[Any]]
LoadMany = Callable[[list[str]], Awaitable[Mapping[str, bytes]]]


def event_cache_key(event_id: str) -> str:
    return f"event:{event_id}"


def session_cache_key(user_id: str) -> str:
    return f"user:session:{user_id}"


def recommendations_cache_key(user_id: str) -> str:
    return f"recommendations:{user_id}"


class _Kept(msgspec.Struct, array_like=True):
    """What lies in Redis: the value, the wall time it is good until, so that memory does not keep it longer, and the
    generation that was seen before it was loaded."""

    expires_ms: int
    value: msgspec.Raw
    generation: bytes = b""


def _decode(found: Found | None) -> _Kept | None:
    """None too for what is of an older generation, or what another build wrote in another form: it is loaded anew."""
    if found is None or found.value is None:
        return None
    try:
        kept = msgspec.msgpack.decode(found.value, type=_Kept)
    except msgspec.DecodeError:
        return None
    return kept if kept.generation == found.generation else None


@dataclass(slots=True)
class _Flight:
    """One load under way. `fresh` turns false when the key is invalidated meanwhile: the value is not kept then."""

    task: asyncio.Task[bytes | None] | None = None
    fresh: bool = True


@dataclass(slots=True, eq=False)
class _Reading:
    """One reading of many keys under way. What is `outdated` was invalidated meanwhile and is not kept."""

    epoch: int
    outdated: set[str] = field(default_factory=set)


class Cache:
    """Call `start` before use and `close` after it. Without Redis it is a memory cache with a short life."""

    def __init__(
        self, redis: RedisClient | None, clock: Clock, *, max_bytes: int, ttl_s: float, lonely_ttl_s: float
    ) -> None:
        self._redis = redis
        self._clock = clock
        self._memory = MemoryLevel(max_bytes, clock)
        self._ttl_s = ttl_s
        self._lonely_ttl_s = lonely_ttl_s
        self._flights: dict[str, _Flight] = {}
        self._readings: set[_Reading] = set()
        self._epoch = 0
        self._pending: dict[str, None] = {}
        # Whoever waits for a load gets its failure; logging it here too would say it twice.
        self._loads = TaskOwner("cache.loads", limit=_MOST_LOADS, on_failure=lambda _name, _error: None)
        self._tasks = TaskOwner("cache")
        self._listening = False
        self._teller: asyncio.Task[Any] | None = None
        self._counts = {"memory_hits": 0, "redis_hits": 0, "loads": 0, "joined_loads": 0, "invalidated": 0}

    async def start(self) -> None:
        if self._redis is not None:
            self._listener = self._tasks.start("listen", self._listen(self._redis))

    async def close(self) -> None:
        await self._tasks.stop()
        await self._loads.stop()
        if self._redis is not None:
            await self._redis.close()

    async def get_or_load(self, key: str, load: Load, *, ttl_s: float | None = None) -> Any:
        """The value of `key`, in built-in types; from `load` when neither level has it. None is never kept.

        Raises what `load` raises, OVERLOADED when 1,000 loads are under way.
        """
        value = await self.get_or_load_encoded(key, load, ttl_s=ttl_s)
        return None if value is None else msgspec.msgpack.decode(value)

    async def get_or_load_encoded(self, key: str, load: Load, *, ttl_s: float | None = None) -> bytes | None:
        """The same in msgpack, for whoever decodes it into a type of its own."""
        held = self._memory.get(key)
        if held is not None:
            self._counts["memory_hits"] += 1
            return held
        flight = self._flights.get(key)
        if flight is None:
            flight = self._take_off(key, load, self._ttl_s if ttl_s is None else ttl_s)
        else:
            self._counts["joined_loads"] += 1
        assert flight.task is not None
        return await asyncio.shield(flight.task)

    def holds(self, key: str) -> bool:
        """Memory does: `get_or_load` will cost nothing."""
        return self._memory.get(key) is not None

    async def get_many(self, keys: Iterable[str], load: LoadMany, *, ttl_s: float) -> dict[str, bytes]:
        """The values of those that exist, as `load` gave them; it is asked once for all that memory does not hold.

        Redis is not asked: this is for values that are read by the dozen and cost less to load than that would. So when
        the author of a change dies over it, others may return the old value for `ttl_s`. Raises what `load` raises.
        """
        found: dict[str, bytes] = {}
        missing: list[str] = []
        for key in keys:
            held = self._memory.get(key)
            if held is None:
                missing.append(key)
            else:
                found[key] = held
        self._counts["memory_hits"] += len(found)
        if not missing:
            return found
        reading = _Reading(self._epoch)
        self._readings.add(reading)
        try:
            loaded = await load(missing)
        finally:
            self._readings.discard(reading)
        self._counts["loads"] += len(loaded)
        left_s = ttl_s if self._listening else min(ttl_s, self._lonely_ttl_s)
        for key, value in loaded.items():
            if key not in reading.outdated and reading.epoch == self._epoch:
                self._memory.put(key, value, left_s)
        return {**found, **loaded}

    def _take_off(self, key: str, load: Load, ttl_s: float) -> _Flight:
        flight = _Flight()
        try:
            flight.task = self._loads.start(key, self._fly(key, load, ttl_s, flight))
        except RuntimeError as error:
            raise FlowError(OVERLOADED) from error
        self._flights[key] = flight
        return flight

    async def _fly(self, key: str, load: Load, ttl_s: float, flight: _Flight) -> bytes | None:
        try:
            found = await self._read(key)
            kept = _decode(found)
            if kept is not None:
                self._counts["redis_hits"] += 1
                value, left_s = bytes(kept.value), (kept.expires_ms - self._clock.now_ms()) / 1000
            else:
                loaded = await load()
                self._counts["loads"] += 1
                if loaded is None:
                    return None
                value, left_s = msgspec.msgpack.encode(loaded), ttl_s
                if found is not None and found.is_held:
                    return value  # it may be the old one, and nobody would say when it is
                if self._redis is not None and found is not None and flight.fresh:
                    kept = _Kept(self._clock.now_ms() + round(ttl_s * 1000), msgspec.Raw(value), found.generation)
                    await self._redis.put(key, msgspec.msgpack.encode(kept), round(ttl_s * 1000), found.stamp)
            if flight.fresh:
                self._memory.put(key, value, left_s if self._listening else min(left_s, self._lonely_ttl_s))
            return value
        finally:
            if self._flights.get(key) is flight:
                del self._flights[key]

    async def _read(self, key: str) -> Found | None:
        """None when Redis cannot be asked, or cannot be believed."""
        if self._redis is None or not self._listening or key in self._pending:
            return None
        return await self._redis.read(key)

    @asynccontextmanager
    async def changing(self, *keys: str) -> AsyncIterator[None]:
        """Around the change of these values in the database. Whether it succeeds or not, they are loaded anew."""
        self._forget(keys)
        if self._redis is not None:
            await self._redis.hold(keys, new_id(), _CHANNEL, msgspec.msgpack.encode(keys))
        try:
            yield
        finally:
            await self.invalidate(*keys)

    async def invalidate(self, *keys: str) -> None:
        """The values changed, and the change is durable. What may be cut off half-way belongs inside `changing`."""
        if not keys:
            return
        self._forget(keys)
        self._counts["invalidated"] += len(keys)
        if self._redis is not None and not await self._tell(self._redis, keys):
            self._pending |= dict.fromkeys(keys)
            while len(self._pending) > _MOST_PENDING:  # those lie in Redis until they expire
                del self._pending[next(iter(self._pending))]
            self._tell_later(self._redis)

    def _forget(self, keys: tuple[str, ...] | list[str]) -> None:
        for key in keys:
            self._memory.drop(key)
            flight = self._flights.pop(key, None)
            if flight is not None:
                flight.fresh = False
        for reading in self._readings:
            reading.outdated.update(keys)

    def _forget_all(self) -> None:
        self._memory.clear()
        self._epoch += 1
        self._forget(list(self._flights))

    async def _tell(self, redis: RedisClient, keys: tuple[str, ...] | list[str]) -> bool:
        return await redis.invalidate(keys, new_id(), _CHANNEL, msgspec.msgpack.encode(keys))

    async def _listen(self, redis: RedisClient) -> None:
        wait_s = _FIRST_WAIT_S
        while True:
            async for message in redis.messages(_CHANNEL, self._subscribed):
                wait_s = _FIRST_WAIT_S
                try:
                    self._forget(msgspec.msgpack.decode(message, type=list[str]))
                except msgspec.DecodeError:
                    self._forget_all()
            self._listening = False
            self._forget_all()
            await asyncio.sleep(wait_s * random.uniform(0.5, 1.0))  # noqa: S311
            wait_s = min(wait_s * 2, _LONGEST_WAIT_S)

    async def _subscribed(self) -> bool:
        """Messages sent while nobody listened here are lost, and so are those of whoever died meanwhile, so everything
        from before is in doubt, here and in Redis."""
        assert self._redis is not None
        self._forget_all()
        self._listening = await self._redis.begin_generation(new_id(), _CHANNEL, _EVERYTHING)
        return self._listening

    def _tell_later(self, redis: RedisClient) -> None:
        if self._teller is None or self._teller.done():
            self._teller = self._tasks.start("tell again", self._tell_again(redis))

    async def _tell_again(self, redis: RedisClient) -> None:
        """Until Redis has heard of every change it missed; what it holds of them is not read here meanwhile."""
        while self._pending:
            await asyncio.sleep(_TELL_AGAIN_S)
            keys = list(self._pending)[:_TOLD_AT_ONCE]
            if await self._tell(redis, keys):
                for key in keys:
                    self._pending.pop(key, None)

    @property
    def listening(self) -> bool:
        """Other processes' invalidations arrive here."""
        return self._listening

    def statistics(self) -> dict[str, int]:
        return {
            **self._counts,
            "entries": len(self._memory),
            "bytes": self._memory.bytes_held,
            "evicted": self._memory.evicted,
            "loading": len(self._loads),
            "reading_many": len(self._readings),
            "pending_invalidations": len(self._pending),
            "listening": int(self._listening),
            "redis_failures": 0 if self._redis is None else self._redis.failures,
        }
