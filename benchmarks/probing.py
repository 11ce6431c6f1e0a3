"""How long an edge's event loop keeps others waiting, seen from outside: `/healthz` asked again and again.

What it answers late it has answered after whatever held the loop, or the machine. So the longest wait is an upper bound
of the longest block.
"""

import http.client
import threading
import time
from typing import Final

from benchmarks.load.orders import Target

_PAUSE_S: Final = 0.02


class Probe:
    """Asks from a thread of its own, from entering to leaving."""

    def __init__(self, target: Target) -> None:
        self.waits_ms: list[float] = []
        self._target = target
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask, name="probe")

    def __enter__(self) -> "Probe":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _ask(self) -> None:
        connection = http.client.HTTPConnection(self._target.host, self._target.port, timeout=10)
        while not self._over.wait(_PAUSE_S):
            asked = time.monotonic()
            connection.request("GET", "/healthz")
            connection.getresponse().read()
            self.waits_ms.append((time.monotonic() - asked) * 1000)
        connection.close()
