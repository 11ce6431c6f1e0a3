"""The runner: takes each key's commands in order through its machine, and lets answers out when their cause is durable.

The host hands it commands; the loader and the committers report back to it. A command whose facts are known is decided
at once, without a task. It promises first in, first out for each key, that nothing leaves before the rows it depends on
are durable, and that what goes wrong with one key touches no other. Recovery from refused writes is in recovery.py.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from actors.activation import ACTIVE, CLOSED, CLOSING, LOADING, Activation, Item, Phase
from actors.commit import GroupCommitter
from actors.effects import Effects
from actors.event_room import Settle
from actors.facts import NO_FACTS, Fact
from actors.fanout import FanOuts
from actors.inbox import Inboxes
from actors.limits import HostLimits
from actors.loader import Loader
from actors.marks import MarkWriter
from actors.messages import (
    AnswerRsvp,
    AttachConnection,
    DetachConnection,
    EventChanged,
    Notify,
    SendMessage,
    ShowInterest,
)
from cluster.kernel.clock import Clock
from cluster.kernel.errors import DEADLINE_EXCEEDED, FENCED, INTERNAL, MOVED, UNAVAILABLE, FlowError
from cluster.kernel.ids import KeyKind

_log = logging.getLogger("flow.actors")

_WRITES: Final = frozenset({SendMessage, AnswerRsvp, ShowInterest, Notify, Settle})
_MAY_UNSETTLE: Final = frozenset({EventChanged, Settle})
_SESSION_SOCKETS: Final = frozenset({AttachConnection, DetachConnection})


class Unwatch:
    """The host's own command: this edge has nobody left who joined the key. In order with its joins."""


class Runner:
    """`became_idle`, `closed` and `may_speak` are the host's; the others are its parts."""

    def __init__(
        self,
        clock: Clock,
        limits: HostLimits,
        fan_outs: FanOuts,
        became_idle: Callable[[Activation], None],
        closed: Callable[[Activation], None],
        may_speak: Callable[[], bool],
    ) -> None:
        self._may_speak = may_speak
        self._clock = clock
        self._limits = limits
        self._fan_outs = fan_outs
        self._became_idle = became_idle
        self._closed = closed
        self.inboxes = Inboxes(limits)
        self.bugs = 0
        self.stale = 0
        self._committers: Mapping[KeyKind, GroupCommitter] = {}
        self._loader: Loader
        self._marks: MarkWriter

    def connect(self, committers: Mapping[KeyKind, GroupCommitter], loader: Loader, marks: MarkWriter) -> None:
        """The parts that report back to this runner."""
        self._committers = committers
        self._loader = loader
        self._marks = marks

    # --- in -----------------------------------------------------------------------------------------------------------

    def offer(self, item: Item) -> None:
        """Decide the command now, or put it behind its key's earlier ones. Raises FlowError OVERLOADED or MOVED."""
        activation = item.activation
        if activation.phase is ACTIVE and not activation.inbox:
            if activation.pending:
                self.inboxes.check_room(activation)
            self._step(activation, item)
        elif activation.phase in (CLOSING, CLOSED):
            raise FlowError(MOVED)
        else:
            self.inboxes.check_room(activation)
            self.inboxes.enqueue(item)

    def offer_own(self, item: Item) -> None:
        """A command of the host itself: never refused for want of room. Nothing happens when the key is leaving."""
        activation = item.activation
        if activation.phase is ACTIVE and not activation.inbox:
            self._step(activation, item)
        elif activation.phase not in (CLOSING, CLOSED):
            self.inboxes.enqueue(item)

    def settle_first(self, activation: Activation) -> None:
        """The line is served before the next command."""
        self.inboxes.put_back(activation, [Item(activation, Settle())])
        if not activation.is_pumping:
            self.pump(activation)

    def pump(self, activation: Activation) -> None:
        """Decide what waits in the inbox, as far as it goes."""
        activation.is_pumping = True
        while activation.phase is ACTIVE and activation.inbox:
            item = self.inboxes.take_first(activation)
            if item.is_released:
                continue
            if not self._may_speak():
                item.refuse(FlowError(MOVED))  # it waited through a standstill: another may own the key by now
                continue
            if not item.facts and self._clock.monotonic() > item.deadline:
                item.refuse(FlowError(DEADLINE_EXCEEDED))
                continue
            self._step(activation, item)
        activation.is_pumping = False
        if activation.phase is ACTIVE and not activation.pending:
            self._became_idle(activation)

    # --- deciding -----------------------------------------------------------------------------------------------------

    def _step(self, activation: Activation, item: Item) -> None:
        kind = type(item.body)
        if kind is Unwatch:
            self._gate(activation, item, Effects(None))
            return
        item.now_ms = self._clock.now_ms()
        machine = activation.machine
        assert machine is not None
        try:
            if not self._is_ready(activation, item, kind):
                return
        except FlowError as error:
            item.refuse(error)  # whatever is being written, this answer stays the same
            return
        except Exception as error:  # noqa: BLE001 - `bug` logs it with its trace
            self.bug(item, error)
            return
        effects: Effects | FlowError
        try:
            effects = machine.decide(item, item.facts)
        except FlowError as error:
            if error.kind is FENCED:
                self._read_again(item)
                return
            effects = error
        except Exception as error:  # noqa: BLE001 - `bug` logs it with its trace
            self.bug(item, error)
            return
        self._gate(activation, item, effects)
        if kind in _MAY_UNSETTLE and machine.is_unsettled(item.now_ms):
            self.settle_first(activation)

    def _is_ready(self, activation: Activation, item: Item, kind: type) -> bool:
        """Whether it can be decided now. Raises FlowError when it is refused whatever the state."""
        if item.facts or item.error is not None:
            self._check_facts(activation, item)
        assert activation.machine is not None
        needs = activation.machine.facts_needed(item, item.facts)
        if needs:
            self._need(activation, item, needs)
            return False
        if kind in _WRITES:
            self._committers[activation.kind].check_room()
        return kind not in _SESSION_SOCKETS or self._note_socket(activation, item)

    def _check_facts(self, activation: Activation, item: Item) -> None:
        if item.error is not None:
            raise item.error
        # The machine remembers the newest answers; facts older than that memory might hide one of them.
        if activation.rows_decided - item.rows_decided > self._limits.rooms.known_answers // 2:
            item.facts = NO_FACTS

    def _note_socket(self, activation: Activation, item: Item) -> bool:
        """Which edges a session has sockets on. False when the edge has gone meanwhile: there is no such socket."""
        edge = self._fan_outs.edge(item.peer)
        if edge is None:
            return False
        if type(item.body) is AttachConnection:
            edge.sessions.add(activation)
        return True

    def _need(self, activation: Activation, item: Item, needs: Sequence[Fact]) -> None:
        self.inboxes.put_back(activation, [item])
        if activation.pending and any(fact.after_commits for fact in needs):
            activation.phase = Phase.SETTLING
            return
        activation.phase = Phase.FETCHING
        activation.is_fetching = True
        self._loader.fetch(activation, [(item, needs), *self._look_ahead(activation)])

    def _look_ahead(self, activation: Activation) -> list[tuple[Item, Sequence[Fact]]]:
        """Facts that the next commands in the inbox will need and that may be asked for now."""
        machine, inbox = activation.machine, activation.inbox
        assert machine is not None
        wanted: list[tuple[Item, Sequence[Fact]]] = []
        for index in range(1, min(len(inbox or ()), self._limits.fetch_ahead)):
            assert inbox is not None
            item = inbox[index]
            if type(item.body) is Unwatch or item.is_released:
                continue
            item.now_ms = self._clock.now_ms()
            try:
                needs = machine.facts_needed(item, item.facts)
            except FlowError:
                continue  # it is refused when its turn comes
            if needs and all(fact.ahead and not (fact.after_commits and activation.pending) for fact in needs):
                wanted.append((item, needs))
        return wanted

    # --- the output gate ----------------------------------------------------------------------------------------------

    def _gate(self, activation: Activation, item: Item, effects: Effects | FlowError) -> None:
        item.effects = effects
        if type(effects) is Effects and effects.rows:
            activation.rows_decided += len(effects.rows)
            self.inboxes.hold(item)
            self._committers[activation.kind].submit(item)
            return
        if type(effects) is Effects and effects.mark is not None:
            self._write_mark(item)
        elif activation.pending and not (type(effects) is Effects and effects.ungated):
            item.is_done = True
            self.inboxes.hold(item)
        else:
            self.release(item)
        if not activation.pending and not activation.inbox:
            self._became_idle(activation)

    def _write_mark(self, item: Item) -> None:
        try:
            self._marks.submit(item)
        except FlowError as error:
            item.refuse(error)

    def committed(self, items: Sequence[Item]) -> None:
        for item in items:
            item.is_done = True
            pending = item.activation.pending
            if pending and pending[0] is item:
                self._let_out(item.activation)

    def _let_out(self, activation: Activation) -> None:
        while activation.pending and activation.pending[0].is_done:
            self.release(self.inboxes.let_go_first(activation))
        if not activation.pending:
            self.settled(activation)

    def settled(self, activation: Activation) -> None:
        """Nothing of the key is being written any more."""
        activation.pending = None
        phase = activation.phase
        if phase is ACTIVE and not activation.inbox:
            self._became_idle(activation)
            if activation.kind is KeyKind.EVENT and self._is_unsettled(activation):
                self.settle_first(activation)  # an earlier one found no room
        elif phase is Phase.SETTLING:
            activation.phase = ACTIVE
            self.pump(activation)
        elif phase is Phase.FAULTED and not activation.is_fetching:
            activation.phase = LOADING
            self._loader.load(activation)
        elif phase is CLOSING and not activation.is_fetching:
            self._closed(activation)

    def _is_unsettled(self, activation: Activation) -> bool:
        return activation.machine is not None and activation.machine.is_unsettled(self._clock.now_ms())

    def release(self, item: Item) -> None:
        """The answer and the fan-outs leave."""
        try:
            self._release(item)
        except Exception as error:  # noqa: BLE001 - `bug` logs it with its trace
            self.bug(item, error)

    def _release(self, item: Item) -> None:
        effects = item.effects
        activation = item.activation
        if not self._may_speak():
            # What became durable is true whoever owns the key by now, so it is still told. The caller asks the owner,
            # who knows its answer by its id.
            item.refuse(FlowError(MOVED))
        if not isinstance(effects, Effects):
            assert effects is not None
            item.refuse(effects)
            return
        if effects.fan_outs:
            last = effects.fan_outs[-1].seq
            if last:
                activation.released_seq = last
            if activation.watchers:
                self._fan_outs.deliver(activation, effects.fan_outs)
        if type(item.body) is Unwatch:
            self._unwatch(item)
            return
        if item.watch and not item.is_released:
            edge = self._fan_outs.edge(item.peer)
            if edge is not None:
                self._fan_outs.watch(edge, activation, item.cork)
        item.answer(effects.reply)

    def _unwatch(self, item: Item) -> None:
        edge = self._fan_outs.edge(item.peer)
        if edge is not None:
            self._fan_outs.unwatch(edge, item.activation)

    # --- trouble ------------------------------------------------------------------------------------------------------

    def bug(self, item: Item, error: Exception) -> None:
        """The rules failed: the caller is told, what was decided before lands, and the key is read again."""
        self.bugs += 1
        activation = item.activation
        _log.error("%s failed on %s", activation.name, type(item.body).__name__, exc_info=error)
        item.refuse(FlowError(INTERNAL))
        if activation.phase in (CLOSING, CLOSED, LOADING):
            return
        activation.phase = Phase.FAULTED
        if not activation.pending:
            self.settled(activation)

    def _read_again(self, item: Item) -> None:
        """Another owner has written: what was decided before lands, then the key is claimed and this decided again."""
        self.stale += 1
        activation = item.activation
        item.attempts += 1
        item.facts = NO_FACTS
        if item.attempts >= self._limits.decide_attempts:
            item.refuse(FlowError(UNAVAILABLE))
        else:
            self.inboxes.put_back(activation, [item])
        activation.phase = Phase.FAULTED
        if not activation.pending:
            self.settled(activation)

    def expire(self) -> None:
        """Answer DEADLINE_EXCEEDED to whoever has waited too long. What was decided for them may still land."""
        now = self._clock.monotonic()
        for item in self.inboxes.waiting_items():
            if now > item.deadline and not item.is_released:
                item.refuse(FlowError(DEADLINE_EXCEEDED))

    def fail_all(self, activation: Activation, error: FlowError) -> None:
        """Refuse everything that is not decided yet."""
        for item in self.inboxes.take_all(activation):
            item.refuse(error)
