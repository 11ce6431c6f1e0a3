"""The first level of the cache: encoded values in process memory, bounded in bytes, each with its own expiry.

Used by the cache alone. The least recently used make room. It promises that `bytes_held` never passes the bound and
that nothing is returned past its expiry. It never decodes a value.
"""

from collections import OrderedDict
from typing import Final, NamedTuple

from cluster.kernel.clock import Clock

_ENTRY_OVERHEAD_BYTES: Final = 256
"""About what an entry costs beside its key and value."""
_LARGEST_SHARE: Final = 8
"""A value that takes more than an eighth of the whole is not kept: it would push out too much."""


class _Entry(NamedTuple):
    value: bytes
    expires: float
    size: int


class MemoryLevel:
    def __init__(self, max_bytes: int, clock: Clock) -> None:
        self._max_bytes = max_bytes
        self._clock = clock
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self.bytes_held = 0
        self.evicted = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: str) -> bytes | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry.expires <= self._clock.monotonic():
            self.drop(key)
            return None
        self._entries.move_to_end(key)
        return entry.value

    def put(self, key: str, value: bytes, ttl_s: float) -> None:
        self.drop(key)
        size = len(key) + len(value) + _ENTRY_OVERHEAD_BYTES
        if ttl_s <= 0 or size * _LARGEST_SHARE > self._max_bytes:
            return
        while self.bytes_held + size > self._max_bytes:
            oldest = next(iter(self._entries))
            self.drop(oldest)
            self.evicted += 1
        self._entries[key] = _Entry(value, self._clock.monotonic() + ttl_s, size)
        self.bytes_held += size

    def drop(self, key: str) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.bytes_held -= entry.size

    def clear(self) -> None:
        self._entries.clear()
        self.bytes_held = 0
