"""Hosts, their links and the cluster's view as one machine on virtual time, for tests of `realtime.recovery`.

A host is up, silent (its link is half-open: requests are swallowed until the link's own pings give it up) or down. The
edge's view may be behind the true one. What a host watches is lost with its incarnation or its link.
"""

import asyncio
from collections import Counter
from collections.abc import Collection
from typing import Any

import msgspec

from actors.messages import Delivery, Moved, Resume, Resumed, ResumeReply
from cluster.kernel.errors import DEADLINE_EXCEEDED, MOVED, UNAVAILABLE, FlowError
from cluster.kernel.ids import Key
from cluster.kernel.tasks import TaskOwner
from cluster.kernel.wire import encode_raw
from cluster.placement.view import Member, View
from realtime.limits import EdgeLimits
from realtime.recovery import Recovery
from realtime.subscriptions import Subscriptions

ANSWER_S = 0.01
GIVEN_UP_AFTER_S = 3.0


class Host:
    """One host's process and the edge's link to it."""

    def __init__(self, world: "World", name: str) -> None:
        self.name = name
        self.state = "up"
        self.watches: set[str] = set()
        self.is_connected = True
        self._world = world
        self._unanswered: set[asyncio.Future[msgspec.Raw]] = set()

    def call(self, method: str, body: Any, timeout_s: float) -> asyncio.Future[msgspec.Raw]:
        if not self.is_connected:
            raise FlowError(UNAVAILABLE)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[msgspec.Raw] = loop.create_future()
        self._unanswered.add(future)
        self._world.asked(self, body)
        future.add_done_callback(lambda _: (self._unanswered.discard(future), self._world.answered(body)))
        loop.call_later(ANSWER_S, self._answer, future, body)
        loop.call_later(timeout_s, self._fail, future, DEADLINE_EXCEEDED)
        return future

    def _answer(self, future: asyncio.Future[msgspec.Raw], body: Resume) -> None:
        if self.state != "up" or future.done():
            return
        items = []
        for position in body.positions:
            owns = self._world.owner(position.key) is self
            if owns:
                self.watches.add(position.key)
            items.append(Resumed(key=position.key, epoch=1, seq=position.seq, error="" if owns else MOVED.code))
        future.set_result(encode_raw(ResumeReply(items=tuple(items))))

    def _fail(self, future: asyncio.Future[msgspec.Raw], kind: Any) -> None:
        if not future.done():
            future.set_exception(FlowError(kind))

    # What befalls it.
    def silence(self) -> None:
        if self.state == "up":
            self.state = "silent"
            asyncio.get_running_loop().call_later(GIVEN_UP_AFTER_S, self._give_up)

    def _give_up(self) -> None:
        if self.state == "silent":
            self.kill()

    def kill(self) -> None:
        self.state = "down"
        self.watches.clear()
        self.break_link()

    def break_link(self) -> None:
        self.is_connected = False
        for future in tuple(self._unanswered):
            self._fail(future, UNAVAILABLE)

    def revive(self) -> None:
        """As a new process, on a new link."""
        self.kill()
        self.state = "up"
        self.is_connected = True
        self._world.recovery.link_connected(self.name)


class World:
    """`true_view` is what hosts obey, `view` what the edge knows."""

    def __init__(self, names: Collection[str], keys: Collection[str], limits: EdgeLimits) -> None:
        self.true_view = self.view = View(1, tuple(Member(name, "host", "1", "h:1", "n") for name in sorted(names)))
        self.hosts = {name: Host(self, name) for name in names}
        self.refreshes = 0
        self.requests = 0
        self.under_way: Counter[str] = Counter()
        self.tasks = TaskOwner("recovery model")
        nobody: Any = Nobody()
        self.recovery = Recovery(self, nobody, limits, self.tasks, self._refresh)  # type: ignore[arg-type]
        self.subscriptions: Subscriptions[Any] = Subscriptions(self, limits)
        self.recovery.subscriptions = self.subscriptions
        for key in keys:
            self.subscriptions.complete(self.subscriptions.begin_join("somebody", key, len(keys)), 1, 0)
            self.owner(key).watches.add(key)

    def owner(self, key: str) -> Host:
        member = self.true_view.host_for(Key.parse(key))
        assert member is not None
        return self.hosts[member.name]

    # The links.
    def link_for(self, key: Key) -> Host:
        member = self.view.host_for(key)
        if member is None:
            raise FlowError(UNAVAILABLE)
        return self.hosts[member.name]

    # The outlet.
    def send(self, connections: Collection[str], delivery: Delivery) -> None:
        raise AssertionError("nothing was told")

    def resume(self, key: str) -> None:
        self.recovery.key_wanted(key)

    def unwatch(self, key: str) -> None:
        raise AssertionError("nobody has left")

    # What is counted.
    def _refresh(self) -> None:
        self.refreshes += 1

    def asked(self, host: Host, body: Resume) -> None:
        self.requests += 1
        self.under_way.update(position.key for position in body.positions)
        assert max(self.under_way.values(), default=0) <= 1, "a key is asked for twice at once"

    def answered(self, body: Resume) -> None:
        self.under_way.subtract(position.key for position in body.positions)

    # What befalls the cluster.
    def place(self, names: Collection[str]) -> None:
        """The true view has these hosts; those that lose keys tell the edge, if they can."""
        before = {name: set(host.watches) for name, host in self.hosts.items()}
        members = tuple(Member(name, "host", "1", "h:1", "n") for name in sorted(names))
        self.true_view = View(self.true_view.version + 1, members)
        for name, watched in before.items():
            host = self.hosts[name]
            moved = tuple(key for key in watched if self.owner(key) is not host)
            host.watches.difference_update(moved)
            if moved and host.state == "up" and host.is_connected:
                self.recovery.moved(encode_raw(Moved(keys=moved, view=self.true_view.version)))

    def learn(self) -> None:
        """The edge hears of the true view."""
        before, self.view = self.view, self.true_view
        if before is not self.view:
            self.recovery.view_changed(before)

    def lost(self) -> set[str]:
        """Keys that their owner does not tell this edge of."""
        return {key for key in tuple(self.subscriptions.keys()) if key not in self.owner(key).watches}


class Nobody:
    """No sockets, so no sessions to tell of them."""

    def people(self) -> list[str]:
        return []

    def attachments(self, user_ids: Any) -> list[Any]:
        return []
