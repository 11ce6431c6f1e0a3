"""The Redis driver, and the only file that knows which one. Used by the cache alone.

It promises short timeouts and a bounded pool, and that Redis being away is an answer, not an exception: `read` says
that it does not know, the others say that they did not. A stamp beside each key guards against a slow loader: whoever
changes a value leaves a new stamp, and a value is kept only while the stamp is the one seen before it was loaded. While
a change is under way the stamp is a held one, and nothing is kept. A generation guards all keys at once.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any, Final, NamedTuple

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.driver_info import DriverInfo
from redis.exceptions import ConnectionError, RedisError  # noqa: A004

from cluster.kernel.errors import START_FAILED, FlowError
from storage.together import Together

_DRIVER: Final = DriverInfo()
"""Once for all connections: the driver looks its own version up among the installed packages, for milliseconds."""
_AWAY: Final = (RedisError, OSError, TimeoutError)
_LISTEN_POLL_S: Final = 1.0
_STAMP_MS: Final = 120_000
"""Longer than any load or change may take."""
_HELD: Final = "held:"
_GENERATION: Final = "flow:cache:generation"

_PUT_IF_UNCHANGED: Final = """
for i = 1, #KEYS, 2 do
  local argument = (i - 1) / 2 * 3
  local stamp = redis.call('GET', KEYS[i + 1]) or ''
  if stamp == ARGV[argument + 1] and string.sub(stamp, 1, 5) ~= 'held:' then
    redis.call('SET', KEYS[i], ARGV[argument + 2], 'PX', ARGV[argument + 3])
  end
end
return 1
"""
_READ_AT_ONCE: Final = 64
_PUT_AT_ONCE: Final = 16
"""A round trip costs more than what is in it; these bound what is in one."""


class Found(NamedTuple):
    """What Redis holds under a key, and the stamp to give back with a value that is loaded instead."""

    value: bytes | None
    stamp: bytes
    generation: bytes

    @property
    def is_held(self) -> bool:
        """A change is under way, or its author died over it."""
        return self.stamp.startswith(_HELD.encode())


class RedisClient:
    """One pool of one process and event loop. Nothing connects before the first operation."""

    def __init__(self, url: str, *, pool_size: int, timeout_ms: int) -> None:
        """Raises FlowError START_FAILED when the address is not one that Redis understands."""
        timeout_s = timeout_ms / 1000
        try:
            self._pool = BlockingConnectionPool.from_url(
                url,
                max_connections=pool_size,
                timeout=timeout_s,
                socket_timeout=timeout_s,
                socket_connect_timeout=timeout_s,
                driver_info=_DRIVER,
                retry=Retry(NoBackoff(), 1, supported_errors=(ConnectionError,)),  # a pooled one may be dead
            )
        except ValueError as error:
            raise FlowError(START_FAILED, "The Redis address is not one that Redis understands.") from error
        self._redis: Any = Redis(connection_pool=self._pool)
        self._reads: Together[Found] = Together("redis.reads", self._read_many, most=_READ_AT_ONCE)
        self._puts: Together[bool] = Together("redis.puts", self._put_many, most=_PUT_AT_ONCE)
        self._put_next: dict[str, tuple[bytes, bytes, int]] = {}
        self.failures = 0

    async def read(self, key: str) -> Found | None:
        """None when Redis is away. Whoever reads while a read is under way goes with the next one."""
        return await self._reads.get(key)

    async def _read_many(self, keys: Sequence[str]) -> dict[str, Found]:
        both = [name for key in keys for name in (key, _stamp_key(key))]
        try:
            generation, *found = await self._redis.mget(_GENERATION, *both)
        except _AWAY:
            self.failures += 1
            return {}
        pairs = zip(found[::2], found[1::2], strict=True)
        return {
            key: Found(value, stamp or b"", generation or b"") for key, (value, stamp) in zip(keys, pairs, strict=True)
        }

    async def put(self, key: str, value: bytes, ttl_ms: int, stamp: bytes) -> bool:
        """Keep the value unless the key was invalidated since `stamp` was read. What is put while a put is under way
        goes with the next one; of two values of one key the later."""
        self._put_next[key] = stamp, value, max(1, ttl_ms)
        return bool(await self._puts.get(key))

    async def _put_many(self, keys: Sequence[str]) -> dict[str, bool]:
        both = [name for key in keys for name in (key, _stamp_key(key))]
        arguments = [argument for key in keys for argument in self._put_next.pop(key)]
        done = await self._did(self._redis.eval(_PUT_IF_UNCHANGED, len(both), *both, *arguments))
        return dict.fromkeys(keys, done)

    async def begin_generation(self, generation: str, channel: str, message: bytes) -> bool:
        """Whatever lies here from before counts no more, and the listeners of `channel` are told."""
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.set(_GENERATION, generation)
        pipeline.publish(channel, message)
        return await self._did(pipeline.execute())

    async def hold(self, keys: Sequence[str], stamp: str, channel: str, message: bytes) -> bool:
        """Like `invalidate`, and nothing is kept under the keys until they are invalidated, or for two minutes."""
        return await self.invalidate(keys, _HELD + stamp, channel, message)

    async def invalidate(self, keys: Sequence[str], stamp: str, channel: str, message: bytes) -> bool:
        """Remove the keys, leave `stamp` beside them and tell the listeners of `channel`; all of it or nothing."""
        pipeline = self._redis.pipeline(transaction=True)
        for key in keys:
            pipeline.set(_stamp_key(key), stamp, px=_STAMP_MS)
        pipeline.delete(*keys)
        pipeline.publish(channel, message)
        return await self._did(pipeline.execute())

    async def ping(self) -> bool:
        return await self._did(self._redis.ping())

    async def _did(self, call: Any) -> bool:
        try:
            await call
        except _AWAY:
            self.failures += 1
            return False
        return True

    async def messages(self, channel: str, on_subscribed: Callable[[], Awaitable[bool]]) -> AsyncIterator[bytes]:
        """What is published from `on_subscribed` on, until that says False or the connection is lost; then it ends.

        A connection that is lost without a word is found by pings, within about three seconds.
        """
        try:
            async with aclosing(self._redis.pubsub()) as pubsub:
                await pubsub.subscribe(channel)
                silent = 0
                while silent < 2:
                    message = await pubsub.get_message(timeout=_LISTEN_POLL_S)
                    if message is None:
                        silent += 1
                        await pubsub.ping()
                        continue
                    silent = 0
                    if message["type"] == "subscribe":
                        if not await on_subscribed():
                            return
                    elif message["type"] == "message":
                        yield bytes(message["data"])
        except _AWAY:
            self.failures += 1

    async def close(self) -> None:
        await self._reads.close()
        await self._puts.close()
        await self._redis.aclose()
        await self._pool.disconnect()


def _stamp_key(key: str) -> str:
    return f"{{{key}}}:stamp"
