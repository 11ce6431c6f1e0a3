"""The host: many rooms and sessions in one process, behind one link server.

A plain class; whoever runs it (a Ray actor, a test) gives it a link server to serve and views to obey. It decodes what
edges ask, finds or activates the key, and hands the command to the runner. It promises `LinkService`'s manners: nothing
here blocks, and every request is answered once. The rules are in the machines, durability in commit.py, recovery in
recovery.py.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import msgspec

from actors import messages
from actors.activation import Activation, Item, Phase
from actors.claims import check_key
from actors.commit import GroupCommitter
from actors.effects import Row
from actors.fact_sources import FactSources
from actors.fanout import FanOuts
from actors.limits import HostLimits
from actors.loader import Loader
from actors.marks import MarkWriter
from actors.messages import (
    COMMANDS,
    NOTE_UNWATCH,
    Command,
    Online,
    OnlineReply,
    Resume,
    Unwatch,
)
from actors.outbox.journal import Journal
from actors.outbox.journaled import JournaledLog
from actors.ownership import Ownership
from actors.ports import HostPorts
from actors.recovery import Recovery
from actors.resume import ResumeJob
from actors.roster import Roster
from actors.runner import Runner
from actors.runner import Unwatch as UnwatchKey
from actors.session_epochs import SessionEpochs
from actors.topic import Topic
from actors.user_session import EdgeLost
from cluster.kernel.clock import Clock
from cluster.kernel.errors import INVALID_REQUEST, MOVED, UNAVAILABLE, FlowError
from cluster.kernel.ids import Key, KeyKind, user_key
from cluster.kernel.tasks import TaskOwner
from cluster.kernel.wire import decode
from cluster.link.port import Peer, Request
from cluster.placement.shards import shard_of
from cluster.placement.view import View

_log = logging.getLogger("flow.actors")

_KINDS: Final = {"chat": KeyKind.CHAT, "event": KeyKind.EVENT, "session": KeyKind.USER, "topic": KeyKind.TOPIC}
_COMMANDS: Final = {name: (body, _KINDS[name.partition(".")[0]]) for name, body in COMMANDS.items()}


class Host:
    """A `LinkService`. `on_owed` is given the rows of a commit that owe work, and those that are messages are in
    `journal`; `on_fenced` is called once, when a view shows that this incarnation is no member any more. `epochs` are
    the process's, which may be this host's name for the second time."""

    def __init__(
        self,
        name: str,
        incarnation: str,
        ports: HostPorts,
        limits: HostLimits,
        clock: Clock,
        tasks: TaskOwner,
        on_owed: Callable[[Sequence[Row]], None] = lambda _: None,
        journal: Journal | None = None,
        on_fenced: Callable[[], None] = lambda: None,
        epochs: SessionEpochs | None = None,
    ) -> None:
        self.name = name
        self._limits = limits
        self._clock = clock
        self._tasks = tasks
        self._is_stopping = False
        self._on_fenced = on_fenced
        self._moved = 0
        self._requests = 0
        self._ownership = Ownership(name, incarnation, clock)
        self._epochs = epochs or SessionEpochs()
        self._fan_outs = FanOuts(limits)
        self._roster = Roster(limits, clock, self._fan_outs)
        self._fan_outs.became_unwatched = self._roster.became_idle
        self._runner = Runner(
            clock, limits, self._fan_outs, self._roster.became_idle, self._roster.remove, self.may_speak
        )
        self._loader = Loader(ports, FactSources(ports, clock, tasks), limits, tasks, self.may_speak, self._next_epoch)
        self._marks = MarkWriter(ports.memberships, limits, tasks, self._runner.release)
        self._recovery = Recovery(self._runner, self._loader, self._roster, self._fan_outs, clock, limits)

        log = JournaledLog(ports.chat_log, journal or Journal(incarnation, limit=0, limit_bytes=0))
        self._committers = {
            KeyKind.CHAT: GroupCommitter("chat", log.append, limits, self._recovery, on_owed),
            KeyKind.EVENT: GroupCommitter("rsvp", ports.rsvps.append, limits, self._recovery, on_owed),
            KeyKind.USER: GroupCommitter(
                "notification", lambda rows, _: ports.notifications.append(rows), limits, self._recovery, on_owed
            ),
        }
        self._loader.connect(self._recovery)
        self._runner.connect(self._committers, self._loader, self._marks)

    # --- life ---------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the committers and the clockwork. Needs a running loop."""
        for committer in self._committers.values():
            _ = self._tasks.start(f"commit-{committer.name}", committer.run())
        _ = self._tasks.start("deadlines", self._repeat(self._limits.deadline_interval_s, self._runner.expire))
        _ = self._tasks.start("sweep", self._repeat(self._limits.sweep_interval_s, self.sweep))

    async def _repeat(self, interval_s: float, work: Callable[[], None]) -> None:
        while True:
            await asyncio.sleep(interval_s)
            try:
                work()
            except Exception:  # noqa: BLE001 - logged with its trace; the clockwork must go on
                _log.exception("the clockwork of %s failed", self.name)

    async def stop(self) -> None:
        """Accept nothing more, let what was accepted become durable (up to a limit), tell the watchers, end."""
        self._is_stopping = True
        for activation in self._roster:
            self._leave(activation)
        try:
            async with asyncio.timeout(self._limits.stop_timeout_s):
                for committer in self._committers.values():
                    await committer.wait_idle()
        except TimeoutError:
            _log.warning("%s stops with rows that storage has not taken", self.name)
        self._fan_outs.flush()
        await self._tasks.stop()

    def sweep(self) -> None:
        """Passivate what has been idle for long."""
        self._roster.sweep()

    # --- placement ----------------------------------------------------------------------------------------------------

    @property
    def view(self) -> View:
        return self._ownership.view

    def apply_view(self, view: View) -> None:
        """Obey a newer view: keys of shards that went elsewhere take nothing more, finish, and tell their watchers."""
        was_out = self._ownership.is_out
        lost = self._ownership.apply(view)
        self._fan_outs.set_view_version(self._ownership.view.version)
        if lost:
            for activation in self._roster:
                if activation.shard in lost:
                    self._leave(activation)
        if self._ownership.is_out and not was_out:
            self._on_fenced()

    def view_was_read(self, view: View, asked_at: float, lease_s: float) -> None:
        """Storage answered with `view`; the question was asked at `asked_at` (`Clock.monotonic`). Where this
        incarnation is a member of it the host speaks until `lease_s` later. Never called means for ever."""
        self._ownership.read(view, asked_at, lease_s)

    def believe_view_until(self, monotonic: float) -> None:
        """Serve until then (`Clock.monotonic`) unless told again; never called means for ever."""
        self._ownership.believe_until(monotonic)

    def may_speak(self) -> bool:
        """Whether what is in memory may be answered from now: no other process can have been given this one's keys."""
        return self._ownership.is_believed(self._clock.monotonic())

    def _next_epoch(self, shard: int) -> int:
        """Raises FlowError MOVED when the shard is another's by the newest view, and as `SessionEpochs.next`."""
        if not self._ownership.owns(shard):
            raise FlowError(MOVED)
        return self._epochs.next(self._ownership.view.version, shard)

    def owns_shards(self) -> bool:
        """Whether the view gives it keys."""
        return self._ownership.statistics()["shards"] > 0

    def is_empty(self) -> bool:
        """Whether it holds no key and writes nothing: what a drain waits for."""
        return not len(self._roster) and all(committer.is_idle for committer in self._committers.values())

    def _leave(self, activation: Activation) -> None:
        self._runner.fail_all(activation, FlowError(MOVED))
        is_loading = activation.phase is Phase.LOADING or activation.is_fetching
        if activation.phase is not Phase.CLOSED:
            activation.phase = Phase.CLOSING
        if not activation.pending and not is_loading:
            self._roster.remove(activation)

    # --- LinkService --------------------------------------------------------------------------------------------------

    def peer_connected(self, peer: Peer) -> None:
        self._fan_outs.connected(peer)

    def peer_lost(self, peer: Peer) -> None:
        edge = self._fan_outs.lost(peer)
        for session in edge.sessions if edge is not None else ():
            self._runner.offer_own(Item(session, EdgeLost(), edge=edge.label if edge is not None else ""))

    def request(self, request: Request) -> None:
        self._requests += 1
        try:
            match request.method:
                case messages.METHOD_COMMAND:
                    self._command(request)
                case messages.METHOD_RESUME:
                    self._resume(request)
                case messages.METHOD_ONLINE:
                    self._online(request)
                case _:
                    raise FlowError(INVALID_REQUEST, "A host does not know this method.")
        except FlowError as error:
            if error.kind is MOVED:
                self._moved += 1
            request.fail(error)

    def note(self, peer: Peer, topic: str, body: Any) -> None:
        if topic != NOTE_UNWATCH:
            _log.warning("%s sent a note that a host does not know", peer.name)
            return
        for key in decode(body, Unwatch).keys:
            activation = self._roster.get(key)
            if activation is not None:
                self._runner.offer_own(Item(activation, UnwatchKey(), _Note(peer)))

    # --- methods ------------------------------------------------------------------------------------------------------

    def _command(self, request: Request) -> None:
        command = decode(request.body, Command)
        known = _COMMANDS.get(command.name)
        if known is None:
            raise FlowError(INVALID_REQUEST, "A host does not know this command.", fields=("name",))
        body = decode(command.body, known[0])
        activation = self._activation_of(command.key, command.user, known[1])
        edge = self._fan_outs.edge(request.peer)
        self._runner.offer(
            Item(
                activation,
                body,
                request,
                user=command.user,
                connection=command.connection,
                edge=edge.label if edge is not None else "",
                watch=command.watch,
            )
        )

    def _activation_of(self, name: str, user: str = "", kind: KeyKind | None = None) -> Activation:
        """The key's activation, made if need be. Raises FlowError."""
        self._check_may_speak()
        activation = self._roster.get(name)
        if activation is None:
            activation = self._activate(name, user, kind)
        elif kind is not None and activation.kind is not kind:
            raise FlowError(INVALID_REQUEST, "This command is not for this kind of key.", fields=("key",))
        activation.last_used = self._clock.monotonic()
        return activation

    def _check_may_speak(self) -> None:
        if not self.may_speak():
            raise FlowError(MOVED, "This host has lost touch with the cluster.")

    def _activate(self, name: str, user: str, kind: KeyKind | None) -> Activation:
        try:
            key = Key.parse(name)
        except ValueError:
            raise FlowError(INVALID_REQUEST, "There is no such kind of key.", fields=("key",)) from None
        if kind is not None and key.kind is not kind:
            raise FlowError(INVALID_REQUEST, "This command is not for this kind of key.", fields=("key",))
        check_key(key, user)
        shard = shard_of(key)
        if not self._ownership.owns(shard):
            raise FlowError(MOVED)
        if self._is_stopping:
            raise FlowError(UNAVAILABLE, "This host is stopping.")
        activation = Activation(key, shard)
        self._roster.add(activation)
        if key.kind is KeyKind.TOPIC:
            activation.machine = Topic(name)
            activation.phase = Phase.ACTIVE
        else:
            self._loader.load(activation)
        return activation

    def _resume(self, request: Request) -> None:
        edge = self._fan_outs.edge(request.peer)
        if edge is None:
            return  # its link is gone; nobody would read the answer
        job = ResumeJob(
            request,
            edge,
            self._fan_outs,
            self._limits,
            self._clock,
            self._activation_of,
            self._runner.offer,
            self.may_speak,
        )
        job.start(decode(request.body, Resume))

    def _online(self, request: Request) -> None:
        self._check_may_speak()
        users = decode(request.body, Online).users
        if len(users) > self._limits.max_online_users:
            raise FlowError(INVALID_REQUEST, f"At most {self._limits.max_online_users} people a question.")
        request.reply(OnlineReply(users=tuple(user for user in users if self._is_online(user))))

    def _is_online(self, user: str) -> bool:
        session = self._roster.get(str(user_key(user)))
        return session is not None and session.machine is not None and session.machine.is_live()

    # --- numbers ------------------------------------------------------------------------------------------------------

    def statistics(self) -> dict[str, int]:
        """Gauges of every queue and counters since the start."""
        numbers = {
            "requests": self._requests,
            "moved": self._moved,
            "bugs": self._runner.bugs,
            "stale": self._runner.stale,
        }
        parts: tuple[_Counted, ...] = (
            self._ownership,
            self._roster,
            self._runner.inboxes,
            self._loader,
            self._epochs,
            self._marks,
            self._recovery,
            self._fan_outs,
            *self._committers.values(),
        )
        for part in parts:
            numbers |= part.statistics()
        return numbers


class _Counted(Protocol):
    def statistics(self) -> dict[str, int]: ...


class _Note:
    """A note as a `Request`: it has a peer and takes no answer."""

    method = NOTE_UNWATCH
    body = msgspec.Raw(b"\x80")
    deadline = float("inf")

    __slots__ = ("peer",)

    def __init__(self, peer: Peer) -> None:
        self.peer = peer

    def reply(self, body: Any) -> None:
        """Nobody waits for one."""

    def fail(self, error: FlowError) -> None:
        """Nobody waits for it."""
