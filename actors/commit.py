"""Group commit: one append in flight for each port, the next batch forms behind it.

The runner submits decided commands; a committer makes their rows durable in the order they came and says so, item by
item. When a batch is durable the next is on its way to storage before the first is answered for, so that storage and
the host work at the same time. It promises that nothing is reported before it is durable, that a batch whose outcome is
unknown is written again as it is until storage answers, and that a refused row stops only its own key. It never decides
what a refusal means.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from actors.activation import Activation, Item
from actors.effects import Row
from actors.limits import HostLimits
from cluster.kernel.errors import OVERLOADED, UNAVAILABLE, FlowError
from storage.records import AppendResult, Message, Notification

_log = logging.getLogger("flow.actors")

Append = Callable[[Sequence[Any], Sequence[bool]], Awaitable[AppendResult]]

_ROW_BYTES = 300


def row_size(row: Row) -> int:
    if isinstance(row, Message):
        return _ROW_BYTES + len(row.text)
    if isinstance(row, Notification):
        return _ROW_BYTES + len(row.title) + len(row.body)
    return _ROW_BYTES


class CommitOutcome(Protocol):
    """Who hears how it went. Called on the loop, in commit order; may submit more."""

    def committed(self, items: Sequence[Item]) -> None: ...

    def refused(self, item: Item, row: Row, refusal: str) -> None:
        """The item's rows up to `row` are durable, `row` was refused; everything else of its key was withdrawn."""

    def poisoned(self, item: Item) -> None:
        """Storage cannot take this item at all; everything else of its key was withdrawn."""

    def broken(self, activation: Activation) -> None:
        """What became of this key's rows is not known; what was queued of it was withdrawn."""


@dataclass(slots=True)
class _Append:
    """A batch on its way to storage. `answer`: the result, and whether an earlier try with an unknown outcome may have
    written some of it."""

    batch: list[Item]
    rows: list[Row]
    owed: list[bool]
    answer: Awaitable[tuple[AppendResult, bool]]


@dataclass(slots=True)
class CommitCounters:
    commits: int = 0
    rows: int = 0
    largest_batch: int = 0
    refusals: int = 0
    retries: int = 0
    poisoned: int = 0
    overloaded: int = 0


class GroupCommitter:
    """One port's queue and its writer. `run` is the writer; the host owns its task."""

    def __init__(
        self,
        name: str,
        append: Append,
        limits: HostLimits,
        outcome: CommitOutcome,
        on_owed: Callable[[Sequence[Row]], None],
    ) -> None:
        self.name = name
        self._append = append
        self._limits = limits
        self._outcome = outcome
        self._on_owed = on_owed
        self._queue: deque[Item] = deque()
        self._in_flight = 0
        self._following: asyncio.Future[tuple[AppendResult, bool]] | None = None
        self._alone = 0
        """So many batches hold one item each."""
        self._rows = 0
        self._bytes = 0
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self.counters = CommitCounters()

    def check_room(self) -> None:
        """Raises FlowError OVERLOADED when the queue is full. Asked before a command is decided, never after."""
        if self._rows >= self._limits.max_queued_rows or self._bytes >= self._limits.max_queued_bytes:
            self.counters.overloaded += 1
            raise FlowError(OVERLOADED, retry_after_ms=self._limits.retry_after_ms)

    def submit(self, item: Item) -> None:
        """Behind everything submitted before."""
        self._queue.append(item)
        self._count(item, 1)
        if not self._wake.is_set():
            self._wake.set()
            self._idle.clear()

    def _count(self, item: Item, sign: int) -> None:
        for row in item.rows:
            self._rows += sign
            self._bytes += sign * row_size(row)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is queued or in flight."""
        return self._idle.is_set()

    async def wait_idle(self) -> None:
        """Until nothing is queued or in flight."""
        await self._idle.wait()

    def withdraw(self, activation: Activation) -> None:
        """Drop what is queued of one key; the batch in flight stays."""
        kept: deque[Item] = deque()
        for item in self._queue:
            if item.activation is activation:
                self._count(item, -1)
            else:
                kept.append(item)
        self._queue = kept

    # --- writing ------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        try:
            while True:
                await self._wake.wait()
                append = self._begin()
                while append is not None:
                    append = await self._finish(append) or self._begin()
                self._wake.clear()
                self._idle.set()
        finally:
            if self._following is not None:
                self._following.cancel()
                await asyncio.wait([self._following])

    def _begin(self) -> _Append | None:
        """None when nothing is queued."""
        if not self._queue:
            return None
        batch = self._next_batch()
        rows = [row for item in batch for row in item.rows]
        owed = [owes for item in batch for owes in item.owed]
        self._in_flight += len(batch)
        return _Append(batch, rows, owed, self._append_until_answered(rows, owed))

    async def _finish(self, append: _Append) -> _Append | None:
        """Wait for its answer and settle it. Returns the next one, if that has begun."""
        try:
            result, is_retry = await append.answer
        except Exception:  # noqa: BLE001 - logged with its trace; the batch is taken apart
            _log.exception("%s: a batch of %d rows cannot be written", self.name, len(append.rows))
            self._in_flight -= len(append.batch)
            self._part(append.batch)
            return None
        following = await self._begin_following() if result.refusal is None else None
        try:
            self._answer_for(append, result, is_retry)
        except Exception:  # noqa: BLE001 - logged with its trace; the other keys' rows must go on
            _log.exception("%s: a batch was not settled", self.name)
            broken = append.batch
            if following is not None:
                await asyncio.wait([asyncio.ensure_future(following.answer)])
                broken = broken + following.batch
                self._in_flight -= len(following.batch)
            self._in_flight -= len(append.batch)
            self._give_up(broken)
            return None
        self._in_flight -= len(append.batch)
        return following

    async def _begin_following(self) -> _Append | None:
        """The next batch, of which storage has been asked when this returns."""
        append = self._begin()
        if append is not None:
            self._following = append.answer = asyncio.ensure_future(append.answer)
            await asyncio.sleep(0)
        return append

    def _next_batch(self) -> list[Item]:
        if self._alone:
            self._alone -= 1
            return [self._queue.popleft()]
        batch: list[Item] = []
        rows = size = 0
        while self._queue:
            item = self._queue[0]
            rows += len(item.rows)
            size += sum(map(row_size, item.rows))
            if batch and (rows > self._limits.batch_rows or size > self._limits.batch_bytes):
                break
            batch.append(self._queue.popleft())
        return batch

    def _answer_for(self, append: _Append, result: AppendResult, is_retry: bool) -> None:
        self.counters.commits += 1
        self.counters.rows += result.stored
        self.counters.largest_batch = max(self.counters.largest_batch, len(append.rows))
        self._settle(append.batch, result, is_retry)
        owing = [row for row, owes in zip(append.rows[: result.stored], append.owed, strict=False) if owes]
        if owing:
            self._on_owed(owing)

    async def _append_until_answered(self, rows: list[Row], owed: list[bool]) -> tuple[AppendResult, bool]:
        """As `_Append.answer`."""
        delay = self._limits.commit_backoff_s
        is_retry = False
        while True:
            try:
                return await self._append(rows, owed), is_retry
            except FlowError as error:
                if error.kind is not UNAVAILABLE:
                    raise
            self.counters.retries += 1
            is_retry = True
            await asyncio.sleep(delay)
            delay = min(2 * delay, self._limits.commit_backoff_cap_s)

    def _settle(self, batch: list[Item], result: AppendResult, is_retry: bool) -> None:
        if result.refusal is None:
            self._done(batch)
            return
        stored = result.stored
        index = 0
        while stored >= len(batch[index].rows):
            stored -= len(batch[index].rows)
            index += 1
        refused, rest = batch[index], batch[index + 1 :]
        if is_retry and result.refusal == "duplicate" and isinstance(refused.rows[stored], Notification):
            # A notification has no position to tell by; the try before this one has most likely written it.
            self._done(batch[: index + 1])
            self._requeue(rest)
            return
        self.counters.refusals += 1
        self._done(batch[:index])
        self._requeue(rest)
        self._count(refused, -1)
        self.withdraw(refused.activation)
        self._outcome.refused(refused, refused.rows[stored], result.refusal)

    def _done(self, items: list[Item]) -> None:
        for item in items:
            self._count(item, -1)
        self._outcome.committed(items)

    def _requeue(self, items: list[Item]) -> None:
        self._queue.extendleft(reversed(items))

    def _part(self, batch: list[Item]) -> None:
        """One of these breaks storage's code: find it by writing each alone, so that it harms nobody else."""
        if len(batch) > 1:
            self._requeue(batch)
            self._alone = len(batch)
            return
        item = batch[0]
        self.counters.poisoned += 1
        self._count(item, -1)
        self.withdraw(item.activation)
        self._outcome.poisoned(item)

    def _give_up(self, batch: list[Item]) -> None:
        """Storage answered what it never may, or the host failed on the answer."""
        for activation in dict.fromkeys(item.activation for item in batch):
            self.withdraw(activation)
            self._outcome.broken(activation)
        self._rows = self._bytes = 0
        for item in self._queue:
            self._count(item, 1)

    # --- numbers ------------------------------------------------------------------------------------------------------

    def statistics(self) -> dict[str, int]:
        counters = self.counters
        return {
            f"{self.name}_queued_rows": self._rows,
            f"{self.name}_queued_bytes": self._bytes,
            f"{self.name}_in_flight_items": self._in_flight,
            f"{self.name}_commits": counters.commits,
            f"{self.name}_rows": counters.rows,
            f"{self.name}_largest_batch": counters.largest_batch,
            f"{self.name}_refusals": counters.refusals,
            f"{self.name}_retries": counters.retries,
            f"{self.name}_poisoned": counters.poisoned,
            f"{self.name}_overloaded": counters.overloaded,
        }
