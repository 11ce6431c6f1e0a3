"""What follows when storage refuses a row: the key is put back to what is durable and its commands are decided again.

The committers report here. A duplicate key is undone in memory where the rules can; anything else means another owner
wrote, so the key is claimed and read again. It promises that what was durable before the refused row is answered, that
the rest is decided again in order, a bounded number of times, and that other keys of the batch go on.
"""

import logging
from collections.abc import Sequence

from actors.activation import ACTIVE, CLOSING, LOADING, Activation, Item, Phase
from actors.effects import Machine, Row
from actors.facts import NO_FACTS
from actors.fanout import FanOuts
from actors.limits import HostLimits
from actors.loader import Loader
from actors.roster import Roster
from actors.runner import Runner
from cluster.kernel.clock import Clock
from cluster.kernel.errors import INTERNAL, MOVED, UNAVAILABLE, FlowError

_log = logging.getLogger("flow.actors")


class Recovery:
    """The `CommitOutcome` of every committer and the `LoadOutcome` of the loader."""

    def __init__(
        self, runner: Runner, loader: Loader, roster: Roster, fan_outs: FanOuts, clock: Clock, limits: HostLimits
    ) -> None:
        self._runner = runner
        self._loader = loader
        self._roster = roster
        self._fan_outs = fan_outs
        self._clock = clock
        self._limits = limits
        self.refusals = {"position": 0, "duplicate": 0, "fenced": 0}
        self.reloads = 0
        self.given_up = 0

    # --- from the committers ------------------------------------------------------------------------------------------

    def committed(self, items: Sequence[Item]) -> None:
        self._runner.committed(items)

    def refused(self, item: Item, row: Row, refusal: str) -> None:
        activation = item.activation
        self.refusals[refusal] = self.refusals.get(refusal, 0) + 1
        items = self._runner.inboxes.take_held(activation)
        assert items[0] is item, "rows become durable in the order of the gate"
        item.attempts += 1
        item.duplicate = refusal == "duplicate"
        if item.attempts >= self._limits.decide_attempts:
            self.given_up += 1
            item.refuse(FlowError(UNAVAILABLE, "Others write to this at the same time. Try again."))
            items = items[1:]
        self._again(activation, items, row if refusal == "duplicate" else None)

    def poisoned(self, item: Item) -> None:
        items = self._runner.inboxes.take_held(item.activation)
        item.refuse(FlowError(INTERNAL))
        self._again(item.activation, items[1:], None)

    def broken(self, activation: Activation) -> None:
        for item in self._runner.inboxes.take_held(activation):
            item.refuse(FlowError(INTERNAL))
        self._again(activation, [], None)

    def _again(self, activation: Activation, items: list[Item], undo: Row | None) -> None:
        """Decide these again, from the state without `undo` if the rules can undo it, else from storage."""
        for item in items:
            item.effects = None
            item.is_done = False
            item.facts = NO_FACTS
            item.error = None
        if activation.phase is CLOSING:
            for item in items:
                item.refuse(FlowError(MOVED))
            self._runner.settled(activation)
            return
        self._runner.inboxes.put_back(activation, items)
        machine = activation.machine
        assert machine is not None
        if undo is None or not machine.roll_back(undo):
            activation.phase = Phase.FAULTED
        elif activation.phase is ACTIVE:
            self._runner.pump(activation)
            return
        self._runner.settled(activation)

    # --- from the loader ----------------------------------------------------------------------------------------------

    def loaded(self, activation: Activation, machine: Machine) -> None:
        if activation.phase is not LOADING:
            self._runner.settled(activation)  # it was told to leave meanwhile
            return
        before = activation.machine
        activation.machine = machine
        activation.phase = ACTIVE
        if before is not None:
            self.reloads += 1
            machine.inherit(before)
            self._tell_watchers(activation, machine)
        activation.released_seq = machine.seq
        if machine.is_unsettled(self._clock.now_ms()):
            self._runner.settle_first(activation)
        else:
            self._runner.pump(activation)

    def _tell_watchers(self, activation: Activation, machine: Machine) -> None:
        """Another owner may have written what this host's watchers have not seen."""
        fan_outs = machine.catch_up(activation.released_seq)
        if fan_outs is None:
            self._fan_outs.tell_moved(activation)
        else:
            self._fan_outs.deliver(activation, fan_outs)

    def load_failed(self, activation: Activation, error: FlowError) -> None:
        """The key cannot be had now: whoever waits is told, whoever watches must ask again."""
        self._runner.fail_all(activation, error)
        self._roster.remove(activation)

    def fetched(self, activation: Activation) -> None:
        activation.is_fetching = False
        if activation.phase is Phase.FETCHING:
            activation.phase = ACTIVE
            self._runner.pump(activation)
        elif not activation.pending:
            self._runner.settled(activation)

    def statistics(self) -> dict[str, int]:
        return {
            "refused_position": self.refusals["position"],
            "refused_duplicate": self.refusals["duplicate"],
            "fenced": self.refusals["fenced"],
            "reloads": self.reloads,
            "given_up": self.given_up,
        }
