"""Commands to actors: which host, how long, and when to try again.

The namespaces and the HTTP API call `command`, the edge's application `ask`. It promises that the commands of one
connection to one key reach their owner in the order they were given, through moves and broken links; that MOVED is
tried again at most twice, with a newer view; that what was never sent waits for a link within its deadline; and that a
command whose outcome is unknown is sent once more only if that is harmless. MOVED and FENCED never leave it. It keeps
nothing after an answer.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol, TypeVar

import msgspec

from actors.messages import METHOD_COMMAND, Command
from cluster.kernel.clock import Clock
from cluster.kernel.errors import DEADLINE_EXCEEDED, INTERNAL, OVERLOADED, UNAVAILABLE, FlowError
from cluster.kernel.ids import Key
from cluster.kernel.tasks import TaskOwner
from cluster.kernel.wire import decode, encode_raw
from cluster.link.port import Answered, LinkClient
from cluster.placement.view import View
from realtime.errands import Errand
from realtime.lanes import Lane
from realtime.limits import EdgeLimits

_log = logging.getLogger("flow.router")

T = TypeVar("T", bound=msgspec.Struct)

_NOT_REPEATED: Final = frozenset({"topic.publish", "chat.typing"})
"""What would be seen twice. Everything else carries its own id, or says what it says however often it is said."""

_MOVED_PAUSES_S: Final = (0.25, 1.0, 1.0)
"""How long at most to wait for a newer view before the next try: the host that answered may be the one behind."""

_RETRY_MS: Final = 500


class Links(Protocol):
    """The part of `cluster.link.pool.HostLinks` that the router uses."""

    @property
    def view(self) -> View: ...

    def link_for(self, key: Key) -> LinkClient: ...


class Refresh(Protocol):
    def __call__(self) -> None:
        """The view is probably old; never waits."""


class Router:
    """One per edge. Whoever owns the links calls `changed` after every new view and every connected link."""

    def __init__(self, links: Links, refresh: Refresh, limits: EdgeLimits, clock: Clock) -> None:
        self._links = links
        self._refresh = refresh
        self._limits = limits
        self._clock = clock
        self._lanes: dict[tuple[str, str], Lane] = {}
        self._waiting: set[asyncio.Future[None]] = set()
        self._generation = 0
        self._under_way = 0
        self._counts: Counter[str] = Counter()
        self._tasks = TaskOwner("edge errands", limit=limits.max_requests)

    async def command(
        self,
        user_id: str,
        key: Key,
        name: str,
        body: msgspec.Struct,
        reply: type[T],
        *,
        timeout_s: float | None = None,
        connection: str = "",
        watch: bool = False,
    ) -> T:
        """The actor's answer. The command is on the link, or in its place in the line, before this first waits.

        Raises the FlowError it was answered with, UNAVAILABLE, OVERLOADED or DEADLINE_EXCEEDED.
        """
        errand = self._begin(user_id, key, name, body, connection, timeout_s, watch=watch)
        try:
            answer = await self._carry(errand)
        finally:
            self._end(errand)
        return _read(name, answer, reply)

    def ask(
        self,
        user_id: str,
        key: Key,
        name: str,
        body: msgspec.Struct,
        reply: type[T],
        answered: Callable[[T | FlowError], None],
        *,
        connection: str = "",
    ) -> None:
        """As `command`, with a task only if something else than the answer must be waited for.

        `answered` is called once, where the answer stands in the link's stream or in that task, never within this call;
        it must not block. What can be told at once is raised.
        """
        errand = self._begin(user_id, key, name, body, connection)
        errand.reply, errand.answered = reply, answered
        try:
            link = self._free_link(errand)
            if link is None:
                self._go_on_later(errand, None)
            else:
                self._send(errand, link, partial(self._heard, errand))
        except FlowError:
            self._end(errand)
            raise

    def _heard(self, errand: Errand, answer: msgspec.Raw | FlowError) -> None:
        """For the link: the first try of what was asked without a task has ended."""
        if isinstance(answer, FlowError) and errand.came_back(answer):
            errand.lane.bounced(errand)
            try:
                self._go_on_later(errand, answer)
            except FlowError as error:
                answer = error
            else:
                return
        self._tell(errand, answer)

    def _go_on_later(self, errand: Errand, failed: FlowError | None) -> None:
        """Raises FlowError UNAVAILABLE once the router is being stopped."""
        try:
            _ = self._tasks.start("errand", self._go_on(errand, failed))
        except RuntimeError:
            raise FlowError(UNAVAILABLE, retry_after_ms=_RETRY_MS) from None

    async def _go_on(self, errand: Errand, failed: FlowError | None) -> None:
        answer: msgspec.Raw | FlowError
        try:
            answer = await self._carry(errand, failed)
        except FlowError as error:
            answer = error
        except BaseException:  # cancelled: nobody waits any more
            self._end(errand)
            raise
        self._tell(errand, answer)

    def _tell(self, errand: Errand, answer: msgspec.Raw | FlowError) -> None:
        self._end(errand)
        try:
            told = answer if isinstance(answer, FlowError) else _read(errand.command.name, answer, errand.reply)
        except FlowError as error:
            told = error
        errand.answered(told)

    def _begin(
        self,
        user_id: str,
        key: Key,
        name: str,
        body: msgspec.Struct,
        connection: str,
        timeout_s: float | None = None,
        *,
        watch: bool = False,
    ) -> Errand:
        """One more under way, last in its line. Raises FlowError OVERLOADED."""
        if self._under_way >= self._limits.max_requests:
            self._counts["overloaded"] += 1
            raise FlowError(OVERLOADED, retry_after_ms=_RETRY_MS)
        command = Command(
            key=str(key),
            name=name,
            user=user_id,
            connection=connection,
            body=encode_raw(body),
            watch=watch,
            view=self._links.view.version,
        )
        deadline = self._clock.monotonic() + (self._limits.command_timeout_s if timeout_s is None else timeout_s)
        lane = self._lane(command)
        errand = Errand(key, command, deadline, lane)
        lane.enter(errand)
        self._under_way += 1
        return errand

    def _end(self, errand: Errand) -> None:
        self._under_way -= 1
        lane, command = errand.lane, errand.command
        lane.leave(errand)
        if command.connection and not lane:
            del self._lanes[command.connection, command.key]

    def is_reachable(self, key: Key) -> bool:
        """Whether a command to this key would be sent now."""
        return self._owner(key) is not None

    def changed(self) -> None:
        """There is a newer view or another connected link: whoever waits for one tries again."""
        self._generation += 1
        waiting, self._waiting = self._waiting, set()
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def _lane(self, command: Command) -> Lane:
        """What has no connection stands in no line but its own."""
        if not command.connection:
            return Lane()
        place = (command.connection, command.key)
        lane = self._lanes.get(place)
        if lane is None:
            lane = self._lanes[place] = Lane()
        return lane

    async def _carry(self, errand: Errand, failed: FlowError | None = None) -> msgspec.Raw:
        """Until it is answered; `failed` is what the last try ended with."""
        while True:
            if failed is not None:
                await self._bounced(errand, failed)
            link = self._free_link(errand) or await self._link(errand)
            try:
                return await self._call(errand, link)
            except FlowError as error:
                if not errand.came_back(error):
                    raise
                failed = error

    async def _bounced(self, errand: Errand, error: FlowError) -> None:
        """It came back: wait for what another try needs. Raises what the command ends with when there is none."""
        errand.lane.bounced(errand)
        if errand.has_moved:
            errand.moved += 1
            self._counts["moved"] += 1
            if errand.moved > self._limits.max_moved_retries:
                raise FlowError(UNAVAILABLE, retry_after_ms=_RETRY_MS) from error
            self._refresh()
            until = min(errand.deadline, self._clock.monotonic() + _MOVED_PAUSES_S[errand.moved - 1])
            await self._change(errand.generation, until)
            return
        self._refresh()
        if errand.was_sent:
            errand.broken += 1
            self._counts["broken"] += 1
            if errand.broken > 1 or errand.command.name in _NOT_REPEATED:
                raise error

    def _free_link(self, errand: Errand) -> LinkClient | None:
        """The link when nothing has to be waited for, as nearly always."""
        link = self._owner(errand.key)
        return link if link is not None and errand.lane.may_send(errand, link) else None

    async def _link(self, errand: Errand) -> LinkClient:
        """A connected link to the key's owner, once everything before this in its line is on that very link."""
        while True:
            generation = self._generation
            link = self._owner(errand.key)
            if link is not None and errand.lane.may_send(errand, link):
                return link
            if self._clock.monotonic() >= errand.deadline:
                self._counts["no_link"] += 1
                raise FlowError(UNAVAILABLE, retry_after_ms=_RETRY_MS)
            if link is None:
                self._refresh()
                await self._change(generation, errand.deadline)
            else:
                await self._pause(errand.lane.turn(errand), errand.deadline)

    def _owner(self, key: Key) -> LinkClient | None:
        try:
            link = self._links.link_for(key)
        except FlowError:
            return None
        return link if link.is_connected else None

    def _call(self, errand: Errand, link: LinkClient) -> "asyncio.Future[msgspec.Raw]":
        left = self._try(errand, link)
        reply = link.call(METHOD_COMMAND, errand.command, left)
        self._sent(errand, link)
        return reply

    def _send(self, errand: Errand, link: LinkClient, heard: Answered) -> None:
        left = self._try(errand, link)
        link.ask(METHOD_COMMAND, errand.command, left, heard)
        self._sent(errand, link)

    def _try(self, errand: Errand, link: LinkClient) -> float:
        """The seconds that are left for a try on this link. Raises FlowError DEADLINE_EXCEEDED."""
        errand.tried, errand.was_sent, errand.generation = link, False, self._generation
        left = errand.deadline - self._clock.monotonic()
        if left <= 0:
            raise FlowError(DEADLINE_EXCEEDED)
        version = self._links.view.version
        if errand.command.view != version:
            errand.command = msgspec.structs.replace(errand.command, view=version)
        return left

    def _sent(self, errand: Errand, link: LinkClient) -> None:
        errand.was_sent = True
        errand.lane.sent(errand, link)
        self._counts["sent"] += 1

    async def _change(self, generation: int, until: float) -> None:
        """Wait for a newer view or link than there was at `generation`, at most until then."""
        if self._generation == generation:
            future = asyncio.get_running_loop().create_future()
            self._waiting.add(future)
            try:
                await self._pause(future, until)
            finally:
                self._waiting.discard(future)

    async def _pause(self, future: asyncio.Future[None], until: float) -> None:
        left = until - self._clock.monotonic()
        if left > 0:
            await asyncio.wait((future,), timeout=left)

    async def stop(self) -> None:
        """Give up what goes on in tasks of its own."""
        await self._tasks.stop()

    def statistics(self) -> dict[str, float]:
        return {
            "commands_under_way": self._under_way,
            "commands_waiting_for_link": len(self._waiting),
            "command_lanes": len(self._lanes),
            **{f"commands_{what}": count for what, count in self._counts.items()},
        }


def _read(name: str, answer: msgspec.Raw, reply: type[T]) -> T:
    """Raises FlowError INTERNAL for one of another form."""
    try:
        return decode(answer, reply)
    except FlowError as error:
        _log.error("the reply to %s is not a %s: %s", name, reply.__name__, error)
        raise FlowError(INTERNAL) from None
