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

from actors.messages import AttachConnection, Attached
from cluster.kernel.errors import OVERLOADED, FlowError
from cluster.kernel.ids import user_key
from realtime.engine.port import Connection
from realtime.namespaces.common import Services
from realtime.sockets import Person

_log = logging.getLogger("flow.edge")

Step = Callable[[], Awaitable[None]]

_PAUSES_S: Final = (0.25, 0.5, 1.0, 2.0, 5.0)
_RETRY_MS: Final = 1_000
_ATTACH: Final = AttachConnection()


def attach_step(services: Services, person: Person) -> Step:
    return partial(_attach, services, person)


async def _attach(services: Services, person: Person) -> None:
    """Tell the person's session of this socket."""
    _ = await services.router.command(
        person.user_id,
        user_key(person.user_id),
        "session.attach",
        _ATTACH,
        Attached,
        timeout_s=services.limits.admission_timeout_s,
        connection=person.socket.id,
    )
    person.socket.is_attached = True


async def persist(services: Services, connection: Connection, steps: Sequence[Step]) -> None:
    """Carry the steps out, in order. Returns when all are done or the time of an admission is over.

    Raises the FlowError of a step that cannot be done at all, OVERLOADED when too many connections wait like this.
    """
    left = list(steps)
    until = services.clock.monotonic() + services.limits.admission_timeout_s
    failures = 0
    if len(left) == 1:  # a step by itself takes no longer than an admission may
        try:
            await left[0]()
        except FlowError as error:
            if not error.kind.retryable:
                _log.info("a connection was refused what belongs to it: %s", error.kind.code)
                raise
            failures = 1
        else:
            return  # nearly always, and without a task
    if not left:
        return
    try:
        task = services.tasks.start("persist", _keep_trying(connection, left, failures))
    except RuntimeError:
        raise FlowError(OVERLOADED, retry_after_ms=_RETRY_MS) from None
    done, _ = await asyncio.wait((task,), timeout=max(0.0, until - services.clock.monotonic()))
    refusal = task.result() if task in done else None
    if refusal is not None:
        raise refusal


async def _keep_trying(connection: Connection, steps: list[Step], failures: int) -> FlowError | None:
    """Until every step is done; what was refused for good is returned. `failures` of the first step came before."""
    while steps and connection.is_open:
        if failures:
            await asyncio.sleep(_PAUSES_S[min(failures, len(_PAUSES_S)) - 1])
            if not connection.is_open:
                break
        try:
            await steps[0]()
        except FlowError as error:
            if not error.kind.retryable:
                _log.info("a connection was refused what belongs to it: %s", error.kind.code)
                return error
            failures += 1
        else:
            steps.pop(0)
            failures = 0
    return None
