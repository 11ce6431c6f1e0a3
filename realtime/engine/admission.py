"""One connection on its way into a namespace: the application is asked, in a task of its own and for so long at most.

Made by the socket's Socket.IO side when CONNECT has come, begun by the pacer when its turn has come. It promises that
`admitted`, or `refused` with the data of CONNECT_ERROR, is called once, unless the connection is over before it begins
or the engine ends; what either means for a connection that is over by then is their business.
"""

import asyncio
import logging
from collections.abc import Callable

from cluster.kernel.errors import DEADLINE_EXCEEDED, INTERNAL, OVERLOADED, FlowError
from realtime.engine.connection import ConnectHandshake, NamespaceConnection, Phase
from realtime.engine.port import EngineApplication
from realtime.engine.runtime import Runtime

_logger = logging.getLogger("flow.engine")


class Admission:
    """It counts as under way from when it is made."""

    __slots__ = ("_admitted", "_application", "_connection", "_handshake", "_is_late", "_refused", "_runtime", "_task")

    def __init__(
        self,
        runtime: Runtime,
        application: EngineApplication,
        connection: NamespaceConnection,
        handshake: ConnectHandshake,
        admitted: Callable[[NamespaceConnection], None],
        refused: Callable[[NamespaceConnection, dict[str, object]], None],
    ) -> None:
        self._runtime = runtime
        self._application = application
        self._connection = connection
        self._handshake = handshake
        self._admitted = admitted
        self._refused = refused
        self._task: asyncio.Task[None] | None = None
        self._is_late = False
        runtime.counters.admissions += 1

    def begin(self) -> None:
        """Its turn has come."""
        if self._connection.phase is Phase.OVER:
            self._runtime.counters.admissions -= 1
            return
        try:
            self._task = self._runtime.tasks.start("admit", self._run())
        except RuntimeError:
            self._runtime.counters.admissions -= 1
            self._refused(self._connection, _connect_error(FlowError(OVERLOADED)))
        else:
            self._runtime.admitting.begin(self)

    def out_of_time(self) -> None:
        if self._task is not None:
            self._is_late = True
            self._task.cancel()

    async def _run(self) -> None:
        # What is kept is what the client is told: an error that is kept where it was caught holds this very frame.
        refusal: dict[str, object] | None = None
        try:
            await self._application.connect(self._connection, self._handshake)
        except FlowError as error:
            refusal = _connect_error(error)
        except asyncio.CancelledError:
            if not self._gave_up():
                raise
            refusal = _connect_error(FlowError(DEADLINE_EXCEEDED))
        except TimeoutError:
            refusal = _connect_error(FlowError(DEADLINE_EXCEEDED))
        except Exception:
            _logger.exception(
                "the application failed to admit a connection to namespace %s", self._connection.namespace
            )
            refusal = _connect_error(FlowError(INTERNAL))
        finally:
            self._task = None  # it holds this very frame
            self._runtime.admitting.end(self)
            self._runtime.counters.admissions -= 1
        if refusal is None:
            self._admitted(self._connection)
        else:
            self._refused(self._connection, refusal)

    def _gave_up(self) -> bool:
        """Asked of a cancelled task: whether it was for want of time, and for nothing else."""
        return self._is_late and self._task is not None and self._task.uncancel() == 0


def _connect_error(error: FlowError) -> dict[str, object]:
    return {"message": error.message, "data": error.to_wire()}
