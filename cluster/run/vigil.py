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
    """It did not come back in time, and will not be waited for."""


class Vigil:
    """One process's. Times are seconds of a monotonic clock; `now` is when the process was made."""

    def __init__(self, settings: SupervisionSettings, now: float) -> None:
        self._settings = settings
        self._awaited_since = now
        self._patience_s = settings.start_timeout_s
        self._last_heard: float | None = None
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
        """It is gone for certain, or was ended; Ray starts it again."""
        self._last_heard = None
        self._is_away = False
        self._awaited_since = now

    def verdict(self, now: float) -> Verdict:
        heard = self._last_heard
        if heard is None:
            late = now - self._awaited_since >= self._patience_s
            return Verdict.LOST if late else Verdict.STARTING
        if self._is_away and now - heard >= self._settings.view_lease_s:
            return Verdict.DEAD
        return Verdict.SILENT if now - heard >= self.silence_s else Verdict.ALIVE
