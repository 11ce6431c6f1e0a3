"""Direct connections to the primary: as many as there are commands under way, kept for the next ones.

Used by the client for the commands of every message. A command goes to the server that the driver says is the
primary; how many run at once is the gate's business, so there are never more connections than it has slots. It
promises that every command ends within its time, that a connection on which anything went wrong is not used again,
and that after an answer that says "not primary" none of the old ones is. It tries nothing twice.
"""

import asyncio
import ssl
from collections.abc import Callable, Sequence
from typing import Any, Final

from pymongo.errors import AutoReconnect, NetworkTimeout, NotPrimaryError

from storage.direct.answers import check
from storage.direct.connection import Address, Connection, ConnectionLost
from storage.direct.login import Login, greet
from storage.direct.op_msg import Codec, Document

_PING: Final = {"ping": 1, "$db": "admin"}

Check = Callable[[dict[str, Any]], dict[str, Any]]


class DirectPool:
    """`primary` gives the primary's address, or None while it is not known."""

    def __init__(
        self,
        primary: Callable[[], Address | None],
        codec: Codec,
        context: ssl.SSLContext | None,
        login: Login | None,
        timeout_ms: int,
    ) -> None:
        self._primary = primary
        self._codec = codec
        self._context = context
        self._login = login
        self._timeout_s = timeout_ms / 1000
        self._idle: list[tuple[Address, Connection]] = []
        self._opened = self._lost = 0
        self._address: Address | None = None
        """The primary, for as long as nothing goes wrong there."""
        self._is_closed = False

    @property
    def is_usable(self) -> bool:
        """Whether a command may be tried: the primary is known."""
        return not self._is_closed and (self._address is not None or self._primary() is not None)

    async def ask(
        self, judge: Check, command: Document, name: str = "", documents: Sequence[Document] = ()
    ) -> dict[str, Any]:
        """The reply, once `judge` has found it good.

        Raises what `judge` raises; AutoReconnect when the server was lost and NetworkTimeout when it did not answer in
        time: what became of the command is then unknown.
        """
        address = self._address or self._primary()
        if address is None:
            raise AutoReconnect("no primary is known")
        self._address = address
        connection: Connection | None = None
        try:
            async with asyncio.timeout(self._timeout_s):
                connection = self._waiting(address) or await self._connect(address)
                reply = await connection.ask(command, name, documents)
            return judge(reply)
        except TimeoutError as error:
            self._lose()
            raise NetworkTimeout("no answer in time") from error
        except (ConnectionLost, OSError) as error:
            self._lose()
            raise AutoReconnect(str(error)) from error
        except NotPrimaryError:
            if connection is not None:
                connection.close()
            self._lose()
            raise
        finally:
            if connection is not None:
                self._keep(address, connection)

    async def warm(self, count: int) -> None:
        """Have so many connections open, so that the first who come in a crowd need not wait for them. Raises as `ask`
        does."""
        await asyncio.gather(*(self.ask(check, _PING) for _ in range(count)))

    def _waiting(self, address: Address) -> Connection | None:
        """One that is idle, the last used first; those to another server are closed on the way."""
        while self._idle:
            to, connection = self._idle.pop()
            if to == address and not connection.is_closed:
                return connection
            connection.close()
        return None

    async def _connect(self, address: Address) -> Connection:
        connection = await Connection.connect(address, self._codec, self._context)
        try:
            await greet(connection, self._login)
        except BaseException:  # a cancelled greeting must not leave the connection open either
            connection.close()
            raise
        self._opened += 1
        return connection

    def _keep(self, address: Address, connection: Connection) -> None:
        if connection.is_closed:
            return
        if self._is_closed:
            connection.close()
            return
        self._idle.append((address, connection))

    def _lose(self) -> None:
        """The server may be gone or be the primary no more: ask the driver again, and use no connection to it."""
        self._lost += 1
        self._address = None
        self._drop()

    def _drop(self) -> None:
        for _, connection in self._idle:
            connection.close()
        self._idle.clear()

    def close(self) -> None:
        self._is_closed = True
        self._drop()

    def statistics(self) -> dict[str, int]:
        return {"direct_idle": len(self._idle), "direct_opened": self._opened, "direct_lost": self._lost}
