"""How a new connection greets its server and logs in. Used by the pool.

What it may log in with is what the driver made of the address: no user, or one with the default mechanism or
SCRAM-SHA-256. For any other mechanism there are no direct connections, and the driver does everything.
"""

from dataclasses import dataclass
from typing import Any, Final

from pymongo.errors import NotPrimaryError, OperationFailure

from storage.direct.connection import Connection
from storage.direct.scram import Exchange, Salted, ScramRefused

_MECHANISMS: Final = ("DEFAULT", "SCRAM-SHA-256")
_MOST_STEPS: Final = 3


@dataclass(frozen=True, slots=True)
class Login:
    """A user of the database `source`."""

    username: str
    source: str
    salted: Salted

    @classmethod
    def of(cls, credentials: Any) -> "Login | None":
        """None for a mechanism that is not known here."""
        if credentials.mechanism not in _MECHANISMS or not credentials.password:
            return None
        return cls(credentials.username, credentials.source or "admin", Salted(credentials.password))


async def greet(connection: Connection, login: Login | None) -> None:
    """Raises NotPrimaryError when it is not the primary, OperationFailure when it refuses the login."""
    hello = await connection.ask({"hello": 1, "$db": "admin"})
    if not hello.get("isWritablePrimary"):
        raise NotPrimaryError("this server is not the primary", hello)
    if login is not None:
        await _log_in(connection, login)


async def _log_in(connection: Connection, login: Login) -> None:
    exchange = Exchange(login.username, login.salted)
    begin = {"saslStart": 1, "mechanism": "SCRAM-SHA-256", "payload": exchange.first, "$db": login.source}
    reply = _agreed(await connection.ask({**begin, "options": {"skipEmptyExchange": True}}))
    try:
        answer = exchange.final(reply["payload"])
        reply = _agreed(await connection.ask(_next(reply, answer, login)))
        exchange.check(reply["payload"])
    except ScramRefused as error:
        raise OperationFailure(str(error), 18) from error
    for _ in range(_MOST_STEPS):
        if reply["done"]:
            return
        reply = _agreed(await connection.ask(_next(reply, b"", login)))
    raise OperationFailure("the login came to no end", 18)


def _next(reply: dict[str, Any], payload: bytes, login: Login) -> dict[str, Any]:
    ident = reply["conversationId"]
    return {"saslContinue": 1, "conversationId": ident, "payload": payload, "$db": login.source}


def _agreed(reply: dict[str, Any]) -> dict[str, Any]:
    if not reply.get("ok"):
        raise OperationFailure(str(reply.get("errmsg", "login refused")), int(reply.get("code", 18)), reply)
    return reply
