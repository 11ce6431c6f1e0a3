"""What the socket engine serves: connections admitted, events dispatched, ends cleaned up.

The engine calls it. It promises that a connection has proven who it is before anything else is done for it, that its
requests begin in the order they came and that only so many are under way, that each request which asked for an answer
gets exactly one, and that nothing of a connection outlives it. What a request means is the namespaces' business.
"""

import asyncio
import logging
import traceback
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from actors.messages import DetachConnection, Done
from cluster.kernel.errors import (
    INTERNAL,
    OVERLOADED,
    RECONNECT_ELSEWHERE,
    TOKEN_EXPIRED,
    UNAUTHENTICATED,
    UNKNOWN_EVENT,
    FlowError,
)
from cluster.kernel.ids import user_key
from cluster.kernel.tasks import TaskOwner
from realtime.admission import Admission
from realtime.auth import Identity
from realtime.engine.port import Ack, Connection, Handshake
from realtime.expiry import ExpiryWatch
from realtime.namespaces import chat, coming_back, events, notifications
from realtime.namespaces.common import Admit, Afterwards, Answer, Handler, Questioner, Services, nothing, refresh
from realtime.protocol import (
    AUTH_REFRESH,
    EVENTS,
    ConnectRequest,
    Payload,
    failure,
    parse,
    parse_value,
    shape_of,
    success,
)
from realtime.revocation import Revocations
from realtime.shedding import LoadShedding
from realtime.sockets import Person, Sockets

_log = logging.getLogger("flow.edge")

_NAMESPACES: Final = frozenset(EVENTS)
_QUESTIONERS: Final = chat.QUESTIONERS
_HANDLERS: Final[dict[str, Handler]] = {
    **chat.HANDLERS,
    **events.HANDLERS,
    **notifications.HANDLERS,
    AUTH_REFRESH: refresh,
}
_RETRY_MS: Final = 200
_UNKNOWN: Final = "unknown"
_CONNECT: Final = "connect"


_ADMISSIONS: Final[dict[str, Admit]] = {
    "/chat": coming_back.admit,
    "/events": events.admit,
    "/notifications": notifications.admit,
}


class EdgeApplication:
    """`engine.port.EngineApplication` of the edge."""

    def __init__(
        self,
        services: Services,
        admission: Admission,
        shedding: LoadShedding,
        sockets: Sockets,
        expiry: ExpiryWatch,
        revocations: Revocations,
    ) -> None:
        self._services = services
        self._admission = admission
        self._shedding = shedding
        self._sockets = sockets
        self._expiry = expiry
        self._revocations = revocations
        self._requests = TaskOwner("edge requests", limit=services.limits.max_requests, on_failure=self._log_mistake)
        self._loop = asyncio.get_running_loop()
        self._asked = 0
        self.errors: Counter[str] = Counter()

    def namespaces(self) -> frozenset[str]:
        return _NAMESPACES

    # --- connecting ---------------------------------------------------------------------------------------------------

    async def connect(self, connection: Connection, handshake: Handshake) -> None:
        try:
            request, identity = self._identify(connection, handshake)
            has_ended = self._revocations.ask(identity.session_id)
            person = self._enter(connection, handshake, identity)
            try:
                afterwards = await _ADMISSIONS[connection.namespace](self._services, connection, person, request)
                self._revocations.judge(identity.session_id, await has_ended)
            except BaseException:  # refused or given up alike, nothing of it may stay
                self._forget(connection)
                if self._sockets.refused(person.socket):
                    self._detach(person)
                raise
        except FlowError as error:
            self.errors[error.kind.code] += 1
            raise
        self._sockets.admitted(person.socket, connection)
        if afterwards is not None:
            self._begin(connection, afterwards)

    def _identify(self, connection: Connection, handshake: Handshake) -> tuple[ConnectRequest, Identity]:
        """Raises FlowError for one that the edge has no room for, that asks too often, or has no valid token."""
        known = self._sockets.get(connection.socket_id)
        if known is None:
            self._shedding.check()
            self._admission.arrive(handshake.remote_address)
        else:
            known.buckets.take(_CONNECT, self._services.clock.monotonic())
        request = _parse_auth(handshake.auth)
        return request, self._services.tokens.verify(request.token)

    def _enter(self, connection: Connection, handshake: Handshake, identity: Identity) -> Person:
        """Raises FlowError when the socket or the person may not have one more."""
        socket = self._sockets.enter(connection.socket_id, identity, handshake.remote_address)
        if not socket.connections and socket.pending == 1:
            self._expiry.watch(socket)
        connection.state = person = Person(socket)
        return person

    def _begin(self, connection: Connection, afterwards: Afterwards) -> None:
        """It runs for the first time once this loop turn is over: the client has been told by then."""
        try:
            _ = self._requests.start("afterwards", afterwards())
        except RuntimeError:
            connection.close(OVERLOADED)

    def _forget(self, connection: Connection) -> None:
        self._services.subscriptions.disconnect(connection)
        self._services.deliveries.untrack(connection)

    def disconnected(self, connection: Connection, reason: str) -> None:
        person: Person = connection.state
        self._forget(connection)
        if self._sockets.leave(person.socket, connection):
            self._detach(person)

    def _detach(self, person: Person) -> None:
        """The session hears of it soon; if it cannot, it hears of the edge's whole list when it next asks."""
        try:
            _ = self._requests.start("detach", self._tell_detached(person))
        except RuntimeError:
            self.errors["detach_dropped"] += 1

    async def _tell_detached(self, person: Person) -> None:
        services = self._services
        try:
            _ = await services.router.command(
                person.user_id,
                user_key(person.user_id),
                "session.detach",
                DetachConnection(),
                Done,
                connection=person.socket.id,
            )
        except FlowError as error:
            self.errors["detach_failed"] += 1
            _log.debug("a session was not told that a socket has gone: %s", error.kind.code)

    # --- events -------------------------------------------------------------------------------------------------------

    def event(self, connection: Connection, name: str, args: list[Any], ack: Ack | None) -> None:
        person: Person = connection.state
        try:
            payload = self._accept(connection, person, name, args)
            questioner = _QUESTIONERS.get(name)
            if questioner is not None:
                # As a task would, in the next turn: in line with tasks, and at one go with all that came in this one.
                self._loop.call_soon(self._ask, questioner, connection, person, payload, ack)
                self._asked += 1
            else:
                _ = self._requests.start("request", self._serve(connection, person, _HANDLERS[name], payload, ack))
        except FlowError as error:
            self._refuse(ack, error)
        except RuntimeError:
            self._refuse(ack, FlowError(OVERLOADED, retry_after_ms=_RETRY_MS))
        else:
            person.under_way += 1

    def _accept(self, connection: Connection, person: Person, name: str, args: list[Any]) -> Payload:
        services = self._services
        shape = shape_of(connection.namespace, name)
        person.socket.buckets.take(_UNKNOWN if shape is None else name, services.clock.monotonic())
        if shape is None:
            raise FlowError(UNKNOWN_EVENT)
        if person.socket.is_leaving:
            raise FlowError(RECONNECT_ELSEWHERE)
        if name != AUTH_REFRESH and services.clock.now_ms() >= person.socket.expires_at_ms:
            raise FlowError(TOKEN_EXPIRED)
        if person.under_way >= services.limits.max_requests_per_connection:
            raise FlowError(OVERLOADED, "Too many requests of this connection wait.", retry_after_ms=_RETRY_MS)
        if self._under_way >= services.limits.max_requests:
            raise FlowError(OVERLOADED, retry_after_ms=_RETRY_MS)
        return parse(shape, args)

    def _ask(
        self, questioner: Questioner, connection: Connection, person: Person, payload: Payload, ack: Ack | None
    ) -> None:
        router = self._services.router
        try:
            key, name, body, reply, answer = questioner(self._services, connection, person, payload)
            answered = partial(self._answered, person, ack, answer)
            router.ask(person.user_id, key, name, body, reply, answered, connection=connection.id)
        except FlowError as error:
            self._answered(person, ack, nothing, error)
        except Exception as mistake:  # noqa: BLE001 - told of here, without what the client sent
            self._log_mistake("request", mistake)
            self._answered(person, ack, nothing, FlowError(INTERNAL))

    def _answered(
        self, person: Person, ack: Ack | None, answer: Callable[[Any], dict[str, Any]], reply: Any | FlowError
    ) -> None:
        self._asked -= 1
        person.under_way -= 1
        if isinstance(reply, FlowError):
            self._refuse(ack, reply)
        elif ack is not None:
            ack(success(answer(reply)))

    async def _serve(
        self, connection: Connection, person: Person, handler: Handler, payload: Payload, ack: Ack | None
    ) -> None:
        try:
            answer: Answer = await handler(self._services, connection, person, payload)
            if ack is not None:
                ack(success(answer.body))
            for delivery in answer.backlog:
                self._services.deliveries.send((connection,), delivery)
        except FlowError as error:
            self._refuse(ack, error)
        except Exception:  # answered here, and told of where the task ends
            self._refuse(ack, FlowError(INTERNAL))
            raise
        finally:
            person.under_way -= 1

    def _refuse(self, ack: Ack | None, error: FlowError) -> None:
        self.errors[error.kind.code] += 1
        if ack is not None:
            ack(failure(error))

    def _log_mistake(self, task: str, error: BaseException) -> None:
        # The message of an exception may quote what a client sent; its type and place do not.
        place = "".join(traceback.format_tb(error.__traceback__))
        _log.error("%s failed with %s\n%s", task, type(error).__name__, place)

    # ------------------------------------------------------------------------------------------------------------------

    @property
    def load(self) -> float:
        """Requests under way, as a share of what may be."""
        return self._under_way / self._services.limits.max_requests

    @property
    def _under_way(self) -> int:
        return len(self._requests) + self._asked

    async def stop(self) -> None:
        await self._requests.stop()

    def statistics(self) -> dict[str, float]:
        return {
            "requests_under_way": self._under_way,
            **{f"errors_{code}": count for code, count in self.errors.items()},
        }


def _parse_auth(auth: Any) -> ConnectRequest:
    if not isinstance(auth, dict) or not isinstance(auth.get("token"), str) or not auth["token"]:
        raise FlowError(UNAUTHENTICATED)
    return parse_value(ConnectRequest, auth)
