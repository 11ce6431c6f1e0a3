"""What the roster lets go leaves memory there and then, whatever it was in the middle of."""

import weakref

from actors.activation import Activation, Phase
from actors.fanout import FanOuts
from actors.limits import HostLimits
from actors.roster import Roster
from cluster.kernel.clock import ManualClock
from cluster.kernel.ids import chat_key


class Traced(Activation):
    """One whose end can be seen."""

    __slots__ = ("__weakref__",)


def test_what_makes_room_during_a_turn_of_trimming_is_freed_at_once() -> None:
    limits = HostLimits(max_active=8, sweep_slice=2)
    roster = Roster(limits, ManualClock(), FanOuts(limits))
    ends = [_idle(roster, number) for number in range(limits.max_active)]
    roster.sweep()  # a turn begins, and does not reach its end
    roster.sweep()
    ends += [_idle(roster, number) for number in range(limits.max_active, 2 * limits.max_active)]
    assert [end() is None for end in ends] == [True] * limits.max_active + [False] * limits.max_active


def _idle(roster: Roster, number: int) -> "weakref.ref[Traced]":
    activation = Traced(chat_key(f"room-{number}"), 0)
    activation.phase = Phase.ACTIVE
    roster.add(activation)
    roster.became_idle(activation)
    return weakref.ref(activation)
