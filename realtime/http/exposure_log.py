"""The exposure log: that a unit really got a treatment, once per unit and version of an experiment.

Used by the recommendations operation when it puts a treated answer before a person, not when the unit was assigned.
The sink keeps the first exposure of a unit whatever comes later; this class only spares it what it has heard already.
Bounded: units that were forgotten are told to the sink again, which changes nothing there.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Final, Protocol

from cluster.kernel.errors import FlowError
from serve_apps.contracts import Exposure

MOST_REMEMBERED: Final = 100_000


class ExposureSink(Protocol):
    """Durable; `record` is idempotent by (experiment, version, unit) and keeps the earliest. Raises FlowError."""

    async def record(self, exposures: Sequence[Exposure]) -> None: ...


class ExposureLog:
    """One of an edge; used from one event loop."""

    def __init__(self, sink: ExposureSink, *, most: int = MOST_REMEMBERED) -> None:
        self._sink = sink
        self._most = most
        self._told: OrderedDict[tuple[str, int, str], str] = OrderedDict()
        self._counts = {"exposures_logged": 0, "exposures_failed": 0}

    async def used(self, exposures: Sequence[Exposure]) -> None:
        """Never raises: an answer is not held back because it could not be counted; the next one is counted."""
        fresh = [one for one in exposures if self._told.get(_key(one)) != one.variation]
        if not fresh:
            return
        try:
            await self._sink.record(fresh)
        except FlowError:
            self._counts["exposures_failed"] += len(fresh)
            return
        self._counts["exposures_logged"] += len(fresh)
        for one in fresh:
            self._told[_key(one)] = one.variation
            self._told.move_to_end(_key(one))
        while len(self._told) > self._most:
            self._told.popitem(last=False)

    def statistics(self) -> dict[str, Any]:
        return {**self._counts, "exposures_remembered": len(self._told)}


def _key(exposure: Exposure) -> tuple[str, int, str]:
    return exposure.experiment, exposure.version, exposure.unit
