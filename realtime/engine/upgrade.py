"""From polling to a websocket within one session: the probe, its answer, and the change of transport.

A websocket that names a polling session belongs to an `UpgradeProbe` until the client has sent `2probe` and then `5`.
Meanwhile the session lives on polling; a poll that waits is ended with a noop, so that the client can stop polling. A
probe that breaks this order, stops half-way or goes away costs only its own websocket, never the session.
"""

from typing import Final

from cluster.kernel.errors import PROTOCOL_ERROR
from realtime.engine.polling import PollingTransport
from realtime.engine.runtime import Runtime
from realtime.engine.session import Session
from realtime.engine.websocket import WebSocketTransport
from realtime.engine.wire import PROBE_ANSWER

_GOING_AWAY: Final = 1001


class UpgradeProbe:
    """The listener of a websocket that is not yet its session's transport."""

    def __init__(self, runtime: Runtime, session: Session, polling: PollingTransport) -> None:
        self._runtime = runtime
        self._session = session
        self._polling = polling
        self._is_answered = False
        self._is_over = False
        self.wheel_slot = -1
        self.websocket = WebSocketTransport(runtime, self)
        session.probe = self
        runtime.wheel.schedule(self, runtime.clock.monotonic() + runtime.limits.upgrade_timeout_s)

    def receive(self, packet: str | bytes) -> bool:
        if packet == "2probe" and not self._is_answered:
            self._is_answered = True
            self.websocket.push(PROBE_ANSWER)
            self._polling.pause()
        elif packet == "5" and self._is_answered:
            self._complete()
        else:
            self._runtime.counters.violations += 1
            self._give_up(PROTOCOL_ERROR.close_code or _GOING_AWAY)
            return False
        return True

    def _complete(self) -> None:
        self._is_over = True
        self._runtime.wheel.forget(self)
        self.websocket.listener = self._session
        self._session.take_transport(self.websocket)
        self._polling.retire(self.websocket)

    def _give_up(self, code: int) -> None:
        if not self._is_over:
            self._abandon()
            self.websocket.listener = None
            self.websocket.close(code, "")

    def _abandon(self) -> None:
        self._is_over = True
        self._session.probe = None
        self._runtime.wheel.forget(self)
        self._polling.resume()

    def tick(self, now: float) -> float | None:
        self._give_up(_GOING_AWAY)
        return None

    def session_ended(self) -> None:
        self._give_up(_GOING_AWAY)

    def overflowed(self) -> None:
        self._give_up(_GOING_AWAY)

    def lost(self, reason: str) -> None:
        if not self._is_over:
            self._abandon()
