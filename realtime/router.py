"""Commands to actors: which host, how long, and when to try again.

The namespaces and the HTTP API call `command`. It promises that the commands of one connection to one key reach their
owner in the order they were given, through moves and broken links; that MOVED is tried again at most twice, with a
newer view; that what was never sent waits for a link within its deadline; and that a command whose outcome is unknown
is sent once more only if that is harmless. MOVED and FENCED never leave it. It keeps nothing after an answer.
"""

import asyncio
import logging
from collections import Counter
from typing import Final, Protocol, TypeVar

import msgspec

from actors.messages import METHOD_COMMAND, Command
from cluster.kernel.clock import Clock
from cluster.kernel.errors import DEADLINE_EXCEEDED, FENCED, INTERNAL, MOVED, OVERLOADED, UNAVAILABLE, FlowError
from cluster.kernel.ids import Key
from cluster.kernel.wire import decode, encode_raw
from cluster.link.port import LinkClient
from cluster.placement.view import View
from realtime.lanes import Ask, Lane
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
        ask = lane.enter()
        self._under_way += 1
        try:
            answer = await self._carry(key, command, deadline, lane, ask)
        finally:
            self._under_way -= 1
            lane.leave(ask)
            if connection and not lane:
                del self._lanes[connection, command.key]
        try:
            return decode(answer, reply)
        except FlowError as error:
            _log.error("the reply to %s is not a %s: %s", name, reply.__name__, error)
            raise FlowError(INTERNAL) from None

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

    async def _carry(self, key: Key, command: Command, deadline: float, lane: Lane, ask: Ask) -> msgspec.Raw:
        moved = broken = 0
        while True:
            link = self._free_link(key, lane, ask) or await self._link(key, deadline, lane, ask)
            generation = self._generation
            try:
                return await self._send(link, command, deadline, lane, ask)
            except FlowError as error:
                was_sent = ask.link is not None
                lane.bounced(ask)
                if error.kind is MOVED or error.kind is FENCED:
                    moved += 1
                    self._counts["moved"] += 1
                    if moved > self._limits.max_moved_retries:
                        raise FlowError(UNAVAILABLE, retry_after_ms=_RETRY_MS) from error
                    self._refresh()
                    await self._change(generation, min(deadline, self._clock.monotonic() + _MOVED_PAUSES_S[moved - 1]))
                elif error.kind is UNAVAILABLE and not link.is_connected:
                    # Ours, not the host's: the link broke under the command, and whether it was carried out is unknown.
                    self._refresh()
                    if not was_sent:
                        continue
                    broken += 1
                    self._counts["broken"] += 1
                    if broken > 1 or command.name in _NOT_REPEATED:
                        raise
                else:
                    raise

    def _free_link(self, key: Key, lane: Lane, ask: Ask) -> LinkClient | None:
        """The link when nothing has to be waited for, as nearly always."""
        link = self._owner(key)
        return link if link is not None and lane.may_send(ask, link) else None

    async def _link(self, key: Key, deadline: float, lane: Lane, ask: Ask) -> LinkClient:
        """A connected link to the key's owner, once everything before this in its line is on that very link."""
        while True:
            generation = self._generation
            link = self._owner(key)
            if link is not None and lane.may_send(ask, link):
                return link
            if self._clock.monotonic() >= deadline:
                self._counts["no_link"] += 1
                raise FlowError(UNAVAILABLE, retry_after_ms=_RETRY_MS)
            if link is None:
                self._refresh()
                await self._change(generation, deadline)
            else:
                await self._pause(lane.turn(ask), deadline)

    def _owner(self, key: Key) -> LinkClient | None:
        try:
            link = self._links.link_for(key)
        except FlowError:
            return None
        return link if link.is_connected else None

    def _send(
        self, link: LinkClient, command: Command, deadline: float, lane: Lane, ask: Ask
    ) -> "asyncio.Future[msgspec.Raw]":
        left = deadline - self._clock.monotonic()
        if left <= 0:
            raise FlowError(DEADLINE_EXCEEDED)
        version = self._links.view.version
        if command.view != version:
            command = msgspec.structs.replace(command, view=version)
        reply = link.call(METHOD_COMMAND, command, left)
        lane.sent(ask, link)
        self._counts["sent"] += 1
        return reply

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

    def statistics(self) -> dict[str, float]:
        return {
            "commands_under_way": self._under_way,
            "commands_waiting_for_link": len(self._waiting),
            "command_lanes": len(self._lanes),
            **{f"commands_{what}": count for what, count in self._counts.items()},
        }
