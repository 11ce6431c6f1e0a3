"""The activations in a host's memory: found by key, bounded in number, and let go when nobody needs them.

The host adds and finds; the runner says when one has become idle. It promises that there are never more than the cap:
past it the least recently used idle one makes room, and when all are busy the newcomer is refused. What leaves is whole
in storage, so letting go is only forgetting.
"""

from collections.abc import Iterator
from itertools import islice

from actors.activation import ACTIVE, CLOSED, Activation
from actors.fanout import FanOuts
from actors.idle_list import IdleList
from actors.limits import HostLimits
from cluster.kernel.clock import Clock
from cluster.kernel.errors import OVERLOADED, FlowError
from cluster.kernel.ids import KeyKind


class Roster:
    def __init__(self, limits: HostLimits, clock: Clock, fan_outs: FanOuts) -> None:
        self._limits = limits
        self._clock = clock
        self._fan_outs = fan_outs
        self._by_name: dict[str, Activation] = {}
        self._idle = IdleList()
        """Those that were idle when last looked at. One of them may be busy again."""
        self._to_trim: Iterator[str] = iter(())
        """Names, for a turn over all takes long: what leaves meanwhile must not stay in memory until its end."""
        self.passivations = 0
        self.refused = 0

    def __len__(self) -> int:
        return len(self._by_name)

    def __iter__(self) -> Iterator[Activation]:
        return iter(tuple(self._by_name.values()))

    def get(self, name: str) -> Activation | None:
        return self._by_name.get(name)

    def add(self, activation: Activation) -> None:
        """Raises FlowError OVERLOADED when the cap is reached and all are busy."""
        while len(self._by_name) >= self._limits.max_active:
            if not self._let_go_oldest():
                self.refused += 1
                raise FlowError(OVERLOADED, retry_after_ms=self._limits.retry_after_ms)
        self._by_name[activation.name] = activation

    def _let_go_oldest(self, unused_since: float = float("inf")) -> bool:
        """Of those unused since then; False when there is none."""
        while (activation := self._idle.oldest) is not None:
            if activation.last_used > unused_since:
                return False
            self._idle.remove(activation)
            if not activation.is_busy:
                self.passivations += 1
                self.remove(activation)
                return True
        return False

    def remove(self, activation: Activation) -> None:
        """Forget it; whoever watches is told to ask again."""
        activation.phase = CLOSED
        self._by_name.pop(activation.name, None)
        self._idle.remove(activation)
        self._fan_outs.tell_moved(activation)
        if activation.kind is KeyKind.USER:
            self._fan_outs.forget_session(activation)

    def became_idle(self, activation: Activation) -> None:
        """Nothing waits in it now."""
        if activation.watchers or activation.phase is CLOSED:
            return
        activation.last_used = self._clock.monotonic()
        self._idle.add(activation)

    def sweep(self) -> None:
        """Let go what has been idle for long, and have the quiet ones give back their caches. Called now and then."""
        now = self._clock.monotonic()
        for _ in range(self._limits.sweep_slice):
            if not self._let_go_oldest(now - self._limits.idle_s):
                break
        self._trim(now - self._limits.trim_after_s)

    def _trim(self, unused_since: float) -> None:
        looked_at = 0
        for name in islice(self._to_trim, self._limits.sweep_slice):
            looked_at += 1
            activation = self._by_name.get(name)
            if activation is None:
                continue
            is_quiet = activation.phase is ACTIVE and not activation.waiting
            if is_quiet and activation.last_used < unused_since and activation.machine is not None:
                activation.machine.trim()
        if looked_at < self._limits.sweep_slice:
            self._to_trim = iter(tuple(self._by_name))

    def statistics(self) -> dict[str, int]:
        return {
            "active": len(self._by_name),
            "active_limit": self._limits.max_active,
            "idle": len(self._idle),
            "passivations": self.passivations,
            "active_refused": self.refused,
        }
