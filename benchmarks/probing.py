"""How long an edge's event loop keeps others waiting, seen from outside: `/healthz` asked again and again.

What it answers late it has answered after whatever held the loop, or the machine. So the longest wait is an upper bound
of the longest block; what the edge itself says of it is among its gauges.
"""

import http.client
import threading
import time
import urllib.request
from typing import Final

from benchmarks.load.orders import Target

_PAUSE_S: Final = 0.02
_PREFIX: Final = "flow_edge_"


def edge_gauges(target: Target) -> dict[str, float]:
    """The edge's own numbers without labels, by the names that it gives them."""
    with urllib.request.urlopen(f"http://{target.host}:{target.port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    rows = (line.removeprefix(_PREFIX).split() for line in lines if line.startswith(_PREFIX) and "{" not in line)
    return {name: float(value) for name, value in rows}


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
