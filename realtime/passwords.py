"""Passwords: argon2id, off the loop, a few at a time.

The HTTP API's register and login call it. One hash takes up to 64 MiB and tens of milliseconds, so a small pool of
threads does them and only so many may wait; past that the caller gets OVERLOADED. It never keeps or logs a password.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from argon2 import Parameters, PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.profiles import RFC_9106_LOW_MEMORY

from cluster.kernel.errors import INVALID_REQUEST, OVERLOADED, FlowError

T = TypeVar("T")

MAX_PASSWORD_BYTES: Final = 1_024
_RETRY_MS: Final = 1_000


class PasswordService:
    """Hashes and verifies. `profile` is argon2's cost; tests pass `argon2.profiles.CHEAPEST`."""

    def __init__(self, profile: Parameters = RFC_9106_LOW_MEMORY, *, threads: int = 2, max_waiting: int = 64) -> None:
        self._hasher = PasswordHasher.from_parameters(profile)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="flow-password")
        self._slots = asyncio.Semaphore(threads)
        self._max_waiting = max_waiting
        self._waiting = 0
        self._refused = 0
        # Compared against when there is no such user, so that both cases cost the same time.
        self._decoy = self._hasher.hash("no such user")

    async def hash(self, password: str) -> str:
        """Raises FlowError INVALID_REQUEST for a password nobody can type, OVERLOADED when too many wait."""
        return await self._run(self._hasher.hash, password)

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """Whether the password is the one that was hashed. A hash of None costs as much and is never right.

        Raises as `hash` does.
        """

        def matches(candidate: str) -> bool:
            try:
                return self._hasher.verify(password_hash or self._decoy, candidate)
            except (VerificationError, InvalidHashError):
                return False

        return await self._run(matches, password) and password_hash is not None

    async def rehashed(self, password_hash: str, password: str) -> str | None:
        """A new hash of a password just verified, when the old one was made at another cost; else None."""
        if not self._hasher.check_needs_rehash(password_hash):
            return None
        return await self.hash(password)

    async def _run(self, work: Callable[[str], T], password: str) -> T:
        try:
            size = len(password.encode())
        except UnicodeEncodeError:
            size = MAX_PASSWORD_BYTES + 1
        if size > MAX_PASSWORD_BYTES:
            raise FlowError(INVALID_REQUEST, "The password is too long or is not text.", fields=("password",))
        if self._waiting >= self._max_waiting:
            self._refused += 1
            raise FlowError(OVERLOADED, retry_after_ms=_RETRY_MS)
        self._waiting += 1
        try:
            async with self._slots:
                return await asyncio.get_running_loop().run_in_executor(self._pool, work, password)
        finally:
            self._waiting -= 1

    def statistics(self) -> dict[str, float]:
        return {"passwords_waiting": self._waiting, "passwords_refused": self._refused}

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
