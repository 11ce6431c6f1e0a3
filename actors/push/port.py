"""The push port: what the worker may ask of whoever reaches people's devices.

At least once: a push whose outcome is unknown is tried again, so a device may get one twice; the collapse key makes the
second replace the first on the screen.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

import msgspec

from storage.records import Device, OutboxRow


class Outcome(StrEnum):
    SENT = "sent"
    GONE = "gone"
    """The registration no longer exists: remove it and never use it again."""
    RETRY = "retry"
    REJECTED = "rejected"
    """Our message is wrong: trying again cannot help."""


class Push(msgspec.Struct, frozen=True):
    row: OutboxRow
    device: Device


class PushResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one push. `not_before_s` is how long the provider asked to wait, None when it did not say."""

    outcome: Outcome
    error: str = ""
    not_before_s: float | None = None


class PushSender(Protocol):
    async def send(self, pushes: Sequence[Push]) -> list[PushResult]:
        """Send each push, at most 50 at once, and answer in the same order. Never raises for one push's failure and
        never blocks the caller's loop."""

    async def close(self) -> None: ...
