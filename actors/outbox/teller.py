"""Tells one person one thing: their session's notification first, then a push row for each device if nobody listens.

Used by the relay. Both are idempotent by an id that follows from the cause and the person, so a cause that is worked
out again tells nobody twice. How many are told at once is bounded, and the storage they need with it.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

from actors.outbox.expand import Recipient, notification_id, rows_for
from actors.outbox.port import Sessions
from actors.outbox.texts import Text
from cluster.kernel.clock import Clock
from cluster.kernel.errors import EVENT_NOT_FOUND, USER_NOT_FOUND, FlowError
from storage.ports import Devices, Outbox, Users


class TellerPorts(Protocol):
    @property
    def users(self) -> Users: ...
    @property
    def devices(self) -> Devices: ...
    @property
    def outbox(self) -> Outbox: ...


class Teller:
    """`on_rows` is called when it wrote push rows."""

    def __init__(self, ports: TellerPorts, sessions: Sessions, clock: Clock, at_once: int) -> None:
        self._ports = ports
        self._sessions = sessions
        self._clock = clock
        self._gate = asyncio.Semaphore(at_once)
        self.on_rows: Callable[[], None] = lambda: None
        self.notifications = 0
        self.push_rows = 0

    async def tell(self, user_id: str, cause: str, text: Text, preference: str) -> None:
        """Returns when it is durable; somebody who is gone is told nothing. Raises FlowError when a part is away."""
        async with self._gate:
            recipient = Recipient(user_id, notification_id(cause, user_id))
            try:
                told = await self._sessions.notify(user_id, recipient.notify(text))
            except FlowError as error:
                if error.kind in (USER_NOT_FOUND, EVENT_NOT_FOUND):
                    return
                raise
            self.notifications += 1
            if not told.live:
                await self._push(recipient, text, preference, told.unread)

    async def _push(self, recipient: Recipient, text: Text, preference: str, unread: int) -> None:
        person = await self._ports.users.by_id(recipient.user_id)
        if person is None or not person.notification_preferences.get(preference, True):
            return
        devices = await self._ports.devices.of_users([recipient.user_id])
        rows = rows_for(recipient, text, devices, unread, self._clock.now_ms())
        if rows and await self._ports.outbox.add(rows):
            self.push_rows += len(rows)
            self.on_rows()
