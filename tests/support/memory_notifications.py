"""Notifications and Outbox in memory, for tests of rules and hosts. Held to the same contract suite as MongoDB's."""

import asyncio
from collections import Counter
from collections.abc import Sequence

import msgspec

from cluster.kernel.errors import INVALID_REQUEST, NOT_FOUND, FlowError
from storage.bounds import check_batch, page_limit
from storage.records import AppendResult, Notification, OutboxRow
from tests.support.memory_faults import Faults


class MemoryNotifications:
    """People are put in with `put_user`; `faults` applies to `append` and `unread_of`."""

    def __init__(self) -> None:
        self.faults = Faults()
        self._people: set[str] = set()
        self._rows: dict[str, Notification] = {}

    async def put_user(self, user_id: str) -> None:
        self._people.add(user_id)

    async def unread_of(self, user_ids: Sequence[str]) -> dict[str, int]:
        check_batch(user_ids)
        fault = await self.faults.before()
        unread = {user_id: self._unread(user_id) for user_id in user_ids if user_id in self._people}
        await self.faults.after(fault)
        return unread

    async def append(self, notifications: Sequence[Notification]) -> AppendResult:
        check_batch(notifications)
        fault = await self.faults.before()
        result = AppendResult(len(notifications))
        for index, notification in enumerate(notifications):
            if notification.id in self._rows:
                result = AppendResult(index, "duplicate")
                break
            self._rows[notification.id] = notification
        await self.faults.after(fault)
        return result

    async def page(self, user_id: str, before_id: str | None, limit: int) -> list[Notification]:
        page_limit(limit)
        await asyncio.sleep(0)
        mine = sorted(
            (row for row in self._rows.values() if row.user_id == user_id),
            key=lambda row: (row.at_ms, row.id),
            reverse=True,
        )
        if before_id is None:
            return mine[:limit]
        before = self._rows.get(before_id)
        if before is None or before.user_id != user_id:
            raise FlowError(INVALID_REQUEST, "There is no such notification to read before.", fields=("before",))
        return [row for row in mine if (row.at_ms, row.id) < (before.at_ms, before.id)][:limit]

    async def mark_read(self, user_id: str, notification_id: str) -> bool:
        await asyncio.sleep(0)
        row = self._rows.get(notification_id)
        if row is None or row.user_id != user_id:
            raise FlowError(NOT_FOUND, "There is no such notification.")
        self._rows[notification_id] = msgspec.structs.replace(row, read=True)
        return not row.read

    async def unread(self, user_id: str) -> int:
        await asyncio.sleep(0)
        return self._unread(user_id)

    def _unread(self, user_id: str) -> int:
        return sum(row.user_id == user_id and not row.read for row in self._rows.values())


class MemoryOutbox:
    def __init__(self) -> None:
        self.faults = Faults()
        self._rows: dict[str, OutboxRow] = {}

    async def add(self, rows: Sequence[OutboxRow]) -> int:
        check_batch(rows)
        fault = await self.faults.before()
        before = len(self._rows)
        for row in rows:
            self._rows.setdefault(row.id, row)
        added = len(self._rows) - before
        await self.faults.after(fault)
        return added

    async def lease(self, worker: str, now_ms: int, lease_ms: int, limit: int) -> list[OutboxRow]:
        page_limit(limit)
        await asyncio.sleep(0)
        open_rows = [row for row in self._rows.values() if row.state in {"pending", "leased"} and row.due_ms <= now_ms]
        open_rows.sort(key=lambda row: (row.due_ms, row.id))
        return [self._change(row.id, state="leased", due_ms=now_ms + lease_ms) for row in open_rows[:limit]]

    async def sent(self, row_ids: Sequence[str], now_ms: int) -> None:
        check_batch(row_ids)
        await asyncio.sleep(0)
        for row_id in row_ids:
            if row_id in self._rows:
                self._change(row_id, state="sent")

    async def retry(self, row_id: str, due_ms: int, error: str) -> None:
        await asyncio.sleep(0)
        row = self._rows.get(row_id)
        if row is not None and row.state in {"pending", "leased"}:
            self._change(row_id, state="pending", due_ms=due_ms, last_error=error, attempts=row.attempts + 1)

    async def bury(self, row_id: str, error: str, now_ms: int) -> None:
        await asyncio.sleep(0)
        if row_id in self._rows:
            self._change(row_id, state="dead", last_error=error)

    async def dead(self, after_id: str | None, limit: int) -> list[OutboxRow]:
        page_limit(limit)
        await asyncio.sleep(0)
        rows = sorted((row for row in self._rows.values() if row.state == "dead"), key=lambda row: row.id)
        return [row for row in rows if after_id is None or row.id > after_id][:limit]

    async def replay(self, row_ids: Sequence[str], now_ms: int) -> int:
        check_batch(row_ids)
        await asyncio.sleep(0)
        dead = [row_id for row_id in set(row_ids) if row_id in self._rows and self._rows[row_id].state == "dead"]
        for row_id in dead:
            self._change(row_id, state="pending", due_ms=now_ms, attempts=0)
        return len(dead)

    async def statistics(self) -> dict[str, int]:
        await asyncio.sleep(0)
        return {"pending": 0, "leased": 0, "sent": 0, "dead": 0} | Counter(row.state for row in self._rows.values())

    def _change(self, row_id: str, **changes: object) -> OutboxRow:
        self._rows[row_id] = row = msgspec.structs.replace(self._rows[row_id], **changes)
        return row
