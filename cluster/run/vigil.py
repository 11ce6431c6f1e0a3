"""What the supervisor may conclude about one process from what it hears and does not hear. Pure, on a given clock.

`watched_process` tells it what happened and asks for the verdict. A process whose end the kernel told of is dead at
once. One that Ray calls away is dead once it may no longer speak for its shards (`view_lease_s` after it was last
heard). One that says nothing for `missed_heartbeats` intervals is silent, and must be ended. Time in which the
supervisor itself stood still says nothing about anyone.
"""

from enum import Enum, auto

from cluster.run.settings import SupervisionSettings


class Verdict(Enum):
    STARTING = auto()
    ALIVE = auto()
    SILENT = auto()
    DEAD = auto()
    LOST = auto()
    """It did not come in time or will not come back, and is not waited for."""


class Vigil:
    """One process's. Times are seconds of a monotonic clock; `now` is when the process was made. One that `returns` is
    started again when it dies."""

    def __init__(self, settings: SupervisionSettings, now: float, *, returns: bool = True) -> None:
        self._settings = settings
        self._returns = returns
        self._awaited_since = now
        self._patience_s = settings.start_timeout_s
        self._last_heard: float | None = None
        self._has_died = False
        self._is_away = False
        self.missed = 0

    @property
    def silence_s(self) -> float:
        """How long a process may say nothing."""
        return self._settings.missed_heartbeats * self._settings.heartbeat_interval_s

    def heard(self, asked_at: float) -> None:
        """It answered what it was asked then."""
        self._last_heard = asked_at
        self._patience_s = self._settings.restart_timeout_s
        self._is_away = False
        self.missed = 0

    def unheard(self, *, is_away: bool) -> None:
        """A heartbeat was not answered; `is_away`: Ray says that the process is not there."""
        self.missed += 1
        self._is_away = is_away

    def stood_still(self, now: float) -> None:
        """The supervisor did: what others said meanwhile may wait unread."""
        self._awaited_since = now
        if self._last_heard is not None:
            self._last_heard = now

    def died(self, now: float) -> None:
        """It is gone for certain, or was ended."""
        self._last_heard = None
        self._is_away = False
        self._has_died = True
        self._awaited_since = now

    def verdict(self, now: float) -> Verdict:
        heard = self._last_heard
        if heard is None:
            late = now - self._awaited_since >= self._patience()
            return Verdict.LOST if late else Verdict.STARTING
        if self._is_away and now - heard >= self._settings.view_lease_s:
            return Verdict.DEAD
        return Verdict.SILENT if now - heard >= self.silence_s else Verdict.ALIVE

    def _patience(self) -> float:
        """How long to wait for a life of it. One that ended before it was ever heard is not replaced at once: another
        would probably end the same way."""
        if self._returns:
            return self._patience_s
        if self._has_died:
            return 0.0
        return min(self._patience_s, self._settings.restart_timeout_s) if self._is_away else self._patience_s
