"""One client as a phone would be: it comes back by itself, joins with what it has, and asks once more when unsure.

Everything it asks and is told is written down in the order it came to know it. It keeps one clientMsgId for a message
whatever happens. Each connection is a client object of its own, so what an old one still says is told apart.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
import socketio

from tests.chaos import records
from tests.chaos.history import HistoryFile
from tests.chaos.options import Person

ANSWER_S = 7.0
"""Longer than the server's own deadline, so that most outcomes are said."""
_CONNECT_S = 4.0
_RETRY_S = 0.3
_LOOKS = 10
_ROOM, _EVENTS = "/chat", "/events"


@dataclass(slots=True)
class _Room:
    since: int | None = None
    is_joined: bool = False
    """On this connection, with nothing missing that the client knows of."""


@dataclass(frozen=True, slots=True)
class _Question:
    kind: str
    place: str
    event: str
    namespace: str
    payload: Any
    key: str = ""
    text: str = ""
    since: int | None = None
    status: str = ""


class Phone:
    """`connect_until` keeps it connected and joined; `ask` asks anything."""

    def __init__(self, url: str, person: Person, history: HistoryFile, choice: random.Random) -> None:
        self.person = person
        self.choice = choice
        self.rooms = {room: _Room() for room in person.rooms}
        self.delivered = 0
        self.acked = 0
        self._url = url
        self._history = history
        self._socket: socketio.AsyncClient | None = None
        self._connection = 0
        self._operations = 0
        self._changed = asyncio.Event()

    # --- connection ---------------------------------------------------------------------------------------------------

    @property
    def is_connected(self) -> bool:
        socket = self._socket
        return socket is not None and socket.eio.state == "connected" and _ROOM in socket.namespaces

    @property
    def is_whole(self) -> bool:
        return self.is_connected and all(room.is_joined for room in self.rooms.values())

    async def connect_until(self, stopping: asyncio.Event) -> None:
        """Connected and joined as long as the server lets it be."""
        while not stopping.is_set():
            if not self.is_connected:
                await self._connect()
            elif not self.is_whole:
                await self._join_all()
            else:
                await self._pause(0.2)

    async def _connect(self) -> None:
        await self._hang_up("reconnects")
        self._connection += 1
        socket = socketio.AsyncClient(reconnection=False)
        number = self._connection
        socket.on("connect", lambda: self._connected(number), namespace=_ROOM)
        socket.on("disconnect", lambda reason: self._disconnected(number, reason), namespace=_ROOM)
        socket.on("chat:new_message", lambda body: self._delivered(number, body), namespace=_ROOM)
        socket.on("chat:resync", lambda body: self._resynced(number, body), namespace=_ROOM)
        socket.on("event:rsvp_update", lambda body: self._counted(number, body), namespace=_EVENTS)
        self._socket = socket
        try:
            async with asyncio.timeout(2 * _CONNECT_S):
                await socket.connect(
                    self._url,
                    auth={"token": self.person.token},
                    namespaces=[_ROOM, _EVENTS],
                    transports=list(self.person.transports),
                    wait_timeout=_CONNECT_S,
                )
        except (socketio.exceptions.ConnectionError, aiohttp.ClientError, TimeoutError, OSError, ValueError):
            await self._hang_up("was refused")
            await asyncio.sleep(self.choice.uniform(0.1, 0.6))

    async def _hang_up(self, reason: str) -> None:
        socket, self._socket = self._socket, None
        if socket is None:
            return
        self._lose(self._connection, reason)
        with contextlib.suppress(Exception):  # whatever an old connection says while it goes is no news
            async with asyncio.timeout(1.0):
                await socket.eio.disconnect(abort=True)

    def _lose(self, number: int, reason: str) -> None:
        if number == self._connection and any(room.is_joined for room in self.rooms.values()):
            for room in self.rooms.values():
                room.is_joined = False

    def _connected(self, number: int) -> None:
        if number == self._connection:
            transport = self.person.transports[-1]
            self._history.write(records.Connected(at=time.monotonic(), connection=number, transport=transport))

    def _disconnected(self, number: int, reason: str) -> None:
        self._lose(number, reason)
        self._history.write(records.Disconnected(at=time.monotonic(), connection=number, reason=str(reason)))
        self._changed.set()

    async def drop(self) -> None:
        """The phone loses its network: no farewell."""
        socket = self._socket
        if socket is not None and self.is_connected and socket.eio.current_transport == "websocket":
            with contextlib.suppress(Exception):  # it may be gone already, in any way there is
                socket.eio.ws._conn.transport.abort()

    async def finish(self) -> None:
        """Say how it ends, then leave."""
        joined = tuple(name for name, room in self.rooms.items() if room.is_joined)
        self._history.write(records.Finished(at=time.monotonic(), is_connected=self.is_connected, joined=joined))
        self._history.close()
        self._connection += 1
        with contextlib.suppress(Exception):  # what it wanted to say is written
            async with asyncio.timeout(2.0):
                if self._socket is not None:
                    await self._socket.disconnect()

    # --- what it is told ----------------------------------------------------------------------------------------------

    def _delivered(self, number: int, body: dict[str, Any]) -> None:
        if number != self._connection:
            return
        self.delivered += 1
        name, message = body["roomId"], seen(body)
        self._history.write(records.Delivered(at=time.monotonic(), connection=number, room=name, message=message))
        room = self.rooms.get(name)
        if room is not None and room.is_joined:
            room.since = max(room.since or 0, message.seq)

    def _resynced(self, number: int, body: dict[str, Any]) -> None:
        if number != self._connection:
            return
        self._history.write(
            records.Resynced(
                at=time.monotonic(),
                connection=number,
                room=body["roomId"],
                epoch=body["epoch"],
                seq=body["seq"],
            )
        )
        if body["roomId"] in self.rooms:
            self.rooms[body["roomId"]].is_joined = False
            self._changed.set()

    def _counted(self, number: int, body: dict[str, Any]) -> None:
        self._history.write(records.Counted(at=time.monotonic(), event=body["eventId"], attending=body["attending"]))

    # --- asking -------------------------------------------------------------------------------------------------------

    async def _join_all(self) -> None:
        number = self._connection
        for name, room in self.rooms.items():
            if not room.is_joined and number == self._connection and self.is_connected:
                await self._join(name, room)
        for event in self.person.events:
            if number == self._connection and self.is_connected:
                await self._watch(event)

    async def _watch(self, event: str) -> bool:
        question = _Question("watch", event, "event:join_updates", _EVENTS, event)
        answer = await self._attempt(question, self._next_operation(), 1)
        return bool(answer and answer["ok"])

    async def look_at_events(self) -> None:
        """Look at each event once more, as somebody does who wants to know how it ended."""
        for event in self.person.events:
            for _ in range(_LOOKS):
                await self.wait_connected()
                if await self._watch(event):
                    break

    async def _join(self, name: str, room: _Room) -> None:
        payload = name if room.since is None else {"roomId": name, "since": room.since}
        question = _Question("join", name, "chat:join_room", _ROOM, payload, since=room.since)
        number = self._connection

        def joined(answer: dict[str, Any]) -> None:
            if number == self._connection:
                room.since = max(room.since or 0, answer["seq"])
                room.is_joined = True

        answer = await self._attempt(question, self._next_operation(), 1, joined)
        if answer is None or not answer["ok"]:
            await self._pause(_RETRY_S * self.choice.uniform(0.5, 1.5))

    async def send(self, room: str, *, again: bool = False) -> None:
        """One message, asked once more with its own key when unsure; `again`: and when it was sure."""
        operation = self._next_operation()
        key = f"{self.person.name}-{operation}"
        payload = {"roomId": room, "text": key, "clientMsgId": key}
        question = _Question("send", room, "chat:send_message", _ROOM, payload, key=key, text=key)
        answer = await self._twice(question, operation, again=again)
        self.acked += bool(answer and answer["ok"])

    async def answer_event(self, event: str, status: str) -> None:
        payload = {"eventId": event, "status": status}
        question = _Question("rsvp", event, "event:rsvp", _EVENTS, payload, status=status)
        await self._twice(question, self._next_operation())

    async def read(self, room: str) -> None:
        question = _Question("history", room, "chat:history", _ROOM, {"roomId": room, "limit": 30})
        await self._attempt(question, self._next_operation(), 1)

    async def _twice(self, question: _Question, operation: int, *, again: bool = False) -> dict[str, Any] | None:
        answer = await self._attempt(question, operation, 1)
        if not again and answer is not None and (answer["ok"] or not answer["error"]["retryable"]):
            return answer
        if answer is None or not answer["ok"]:
            wait_ms = (answer or {}).get("error", {}).get("retryAfterMs") or 1000 * _RETRY_S
            await asyncio.sleep(wait_ms / 1000)
            await self.wait_connected()
        return await self._attempt(question, operation, 2) or answer

    async def wait_connected(self, timeout_s: float = 15.0) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not self.is_connected:  # noqa: ASYNC110 - the library tells of this in no one place
                    await asyncio.sleep(0.05)

    def _next_operation(self) -> int:
        self._operations += 1
        return self._operations

    async def _attempt(
        self,
        question: _Question,
        operation: int,
        attempt: int,
        on_success: Callable[[dict[str, Any]], None] = lambda answer: None,
    ) -> dict[str, Any] | None:
        """The answer, None when it did not come in time or the connection broke. It is written down as it arrives."""
        answered: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()

        def take(answer: dict[str, Any]) -> None:
            self._history.write(_answered(operation, attempt, question.kind, answer))
            if answer["ok"]:
                on_success(answer)
            if not answered.done():
                answered.set_result(answer)

        number, socket = self._connection, self._socket
        if socket is None or not self.is_connected:
            await self._pause(0.1)
            return None
        self._history.write(
            records.Asked(
                at=time.monotonic(),
                operation=operation,
                attempt=attempt,
                kind=question.kind,
                place=question.place,
                connection=number,
                key=question.key,
                text=question.text,
                since=question.since,
                status=question.status,
            )
        )
        reason = "no answer in time"
        try:
            await socket.emit(question.event, question.payload, namespace=question.namespace, callback=take)
            give_up_at = time.monotonic() + ANSWER_S
            while not answered.done() and time.monotonic() < give_up_at:
                await asyncio.wait({answered}, timeout=0.1)
                if number != self._connection or not self.is_connected:
                    reason = "the connection broke"
                    break
        except socketio.exceptions.SocketIOError as error:
            reason = type(error).__name__
        if answered.done():
            return answered.result()
        self._history.write(records.GaveUp(at=time.monotonic(), operation=operation, attempt=attempt, reason=reason))
        return None

    async def _pause(self, seconds: float) -> None:
        self._changed.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), seconds)


def seen(body: dict[str, Any]) -> records.Seen:
    return records.Seen(body["seq"], body["id"], body["clientMsgId"], body["epoch"], body["userId"], body["text"])


def _answered(operation: int, attempt: int, kind: str, answer: dict[str, Any]) -> records.Answered:
    at = time.monotonic()
    if not answer["ok"]:
        error = answer["error"]
        return records.Answered(
            at=at, operation=operation, attempt=attempt, code=error["code"], retryable=error["retryable"]
        )
    return records.Answered(
        at=at,
        operation=operation,
        attempt=attempt,
        id=answer.get("id", ""),
        seq=answer.get("seq", 0),
        epoch=answer.get("epoch", 0),
        ts=answer.get("ts", 0),
        recovered=answer.get("recovered", False),
        messages=tuple(map(seen, answer.get("messages", ()))),
        status=answer.get("status") or "",
        attending=answer.get("attending", 0),
        rank=answer.get("place"),
    )
