"""What must be true of a connection for as long as it lives, whatever is away when it connects.

A connection's session knows its socket; its topics are watched. Each is a step that is carried out when the connection
is admitted, and again, after growing pauses, until it is done or the connection has gone. Admission waits for that only
so long. From then on recovery keeps it true.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final

from cluster.kernel.errors import OVERLOADED, FlowError
from realtime.engine.port import Connection
from realtime.namespaces.common import Services, attach
from realtime.sockets import Person

_log = logging.getLogger("flow.edge")

Step = Callable[[], Awaitable[None]]

_PAUSES_S: Final = (0.25, 0.5, 1.0, 2.0, 5.0)
_RETRY_MS: Final = 1_000


def attach_step(services: Services, person: Person) -> Step:
    return partial(_attach, services, person)


async def _attach(services: Services, person: Person) -> None:
    await attach(services, person)
    person.socket.is_attached = True


async def persist(services: Services, connection: Connection, steps: Sequence[Step]) -> None:
    """Carry the steps out, in order. Returns when all are done or the time of an admission is over.

    Raises the FlowError of a step that cannot be done at all, OVERLOADED when too many connections wait like this.
    """
    if not steps:
        return
    try:
        task = services.tasks.start("persist", _keep_trying(connection, list(steps)))
    except RuntimeError:
        raise FlowError(OVERLOADED, retry_after_ms=_RETRY_MS) from None
    done, _ = await asyncio.wait((task,), timeout=services.limits.admission_timeout_s)
    refusal = task.result() if task in done else None
    if refusal is not None:
        raise refusal


async def _keep_trying(connection: Connection, steps: list[Step]) -> FlowError | None:
    """Until every step is done; what was refused for good is returned."""
    failures = 0
    while steps and connection.is_open:
        try:
            await steps[0]()
        except FlowError as error:
            if not error.kind.retryable:
                _log.info("a connection was refused what belongs to it: %s", error.kind.code)
                return error
            await asyncio.sleep(_PAUSES_S[min(failures, len(_PAUSES_S) - 1)])
            failures += 1
        else:
            steps.pop(0)
    return None
