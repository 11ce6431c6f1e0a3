"""A link without sockets: drives a `LinkService` and implements `LinkClient` within one event loop.

It is held to the same contract suite as the real link. Bodies are encoded and limits apply as on the wire; everything
arrives in a later turn of the loop, in order. `cut` breaks the connection, `connect` makes another, `pause` stops the
client from reading.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from cluster.kernel.attempt import attempt
from cluster.kernel.clock import Clock, SystemClock
from cluster.kernel.errors import DEADLINE_EXCEEDED, INTERNAL, OVERLOADED, TOO_LARGE, UNAVAILABLE, FlowError
from cluster.kernel.wire import encode_raw
from cluster.link.port import Answered, LinkLimits, LinkListener, LinkService

_ENVELOPE_BYTES = 64


def _encode(body: Any, limits: LinkLimits) -> msgspec.Raw:
    raw = encode_raw(body)
    if len(bytes(raw)) + _ENVELOPE_BYTES > limits.max_frame_bytes:
        raise FlowError(TOO_LARGE)
    return raw


class LocalPeer:
    """A `Peer`: the client as the service sees it, for the life of one connection."""

    def __init__(self, link: "LocalLink", name: str, incarnation: str) -> None:
        self._link = link
        self.name = name
        self.incarnation = incarnation
        self.is_open = True
        self._unread: deque[tuple[int, Callable[[], None]]] = deque()
        self._unread_bytes = 0

    def push(self, topic: str, body: Any) -> bool:
        if not self.is_open:
            return False
        raw = _encode(body, self._link.limits)
        return self.send(len(bytes(raw)), lambda: self._link.hear(topic, raw))

    def send(self, size: int, deliver: Callable[[], None]) -> bool:
        if not self.is_open:
            return False
        if self._unread_bytes >= self._link.limits.max_unsent_bytes:
            self.close("the peer reads too slowly")
            return False
        self._unread.append((size, deliver))
        self._unread_bytes += size
        self.read_soon()
        return True

    def read_soon(self) -> None:
        asyncio.get_running_loop().call_soon(self._read)

    def _read(self) -> None:
        while self._unread and not self._link.paused and self.is_open:
            size, deliver = self._unread.popleft()
            self._unread_bytes -= size
            deliver()

    def close(self, reason: str) -> None:
        if self.is_open:
            self.is_open = False
            asyncio.get_running_loop().call_soon(self._link.lost, self, reason)


class LocalRequest:
    """A `Request`."""

    def __init__(self, link: "LocalLink", peer: LocalPeer, request_id: int, method: str, body: msgspec.Raw) -> None:
        self._link = link
        self._id = request_id
        self._answered = False
        self.peer = peer
        self.method = method
        self.body = body
        self.deadline = 0.0

    def reply(self, body: Any) -> None:
        if self._answered:
            return
        try:
            raw = _encode(body, self._link.limits)
        except FlowError as error:
            self.fail(error)
            return
        self._answered = True
        self.peer.send(len(bytes(raw)), lambda: self._link.settle(self._id, raw))

    def fail(self, error: FlowError) -> None:
        if not self._answered:
            self._answered = True
            received = FlowError.from_wire(error.to_wire())
            self.peer.send(_ENVELOPE_BYTES, lambda: self._link.settle(self._id, received))


class LocalCall(asyncio.Future[msgspec.Raw]):
    """A request's future; cancelled it leaves nothing behind."""

    forget: Callable[[], object]

    def answered(self, answer: msgspec.Raw | FlowError) -> None:
        if isinstance(answer, FlowError):
            self.set_exception(answer)
        else:
            self.set_result(answer)

    def cancel(self, msg: Any | None = None) -> bool:
        self.forget()
        return super().cancel(msg)


class LocalLink:
    """A `LinkClient`. Starts without a connection; `connect` makes one."""

    def __init__(
        self,
        service: LinkService,
        listener: LinkListener,
        *,
        name: str = "edge-0",
        incarnation: str = "edge-0-a",
        limits: LinkLimits | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.limits = limits or LinkLimits()
        self.paused = False
        self._service = service
        self._listener = listener
        self._name = name
        self._incarnation = incarnation
        self._clock = clock or SystemClock()
        self._peer: LocalPeer | None = None
        self._next_id = 0
        self._outstanding: dict[int, tuple[Answered, asyncio.TimerHandle]] = {}

    @property
    def is_connected(self) -> bool:
        return self._peer is not None and self._peer.is_open

    def connect(self) -> None:
        """A new connection; the service and the listener hear of it before this returns."""
        assert self._peer is None, "connected already"
        self._peer = LocalPeer(self, self._name, self._incarnation)
        self._service.peer_connected(self._peer)
        self._listener.connected()

    def cut(self, reason: str = "cut") -> None:
        """Break the connection; both sides hear of it before this returns."""
        if self._peer is not None:
            self._peer.is_open = False
            self.lost(self._peer, reason)

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False
        if self._peer is not None:
            self._peer.read_soon()

    def call(self, method: str, body: Any, timeout_s: float) -> asyncio.Future[msgspec.Raw]:
        call = LocalCall()
        request_id = self._ask(method, body, timeout_s, call.answered)
        call.forget = lambda: self._take(request_id)
        return call

    def ask(self, method: str, body: Any, timeout_s: float, answered: Answered) -> None:
        self._ask(method, body, timeout_s, answered)

    def _ask(self, method: str, body: Any, timeout_s: float, answered: Answered) -> int:
        peer = self._peer
        if peer is None or not peer.is_open:
            raise FlowError(UNAVAILABLE)
        if len(self._outstanding) >= self.limits.max_outstanding_requests:
            raise FlowError(OVERLOADED, retry_after_ms=100)
        if timeout_s <= 0:
            raise FlowError(DEADLINE_EXCEEDED)
        raw = _encode(body, self.limits)
        loop = asyncio.get_running_loop()
        request_id = self._next_id
        request = LocalRequest(self, peer, request_id, method, raw)
        request.deadline = self._clock.monotonic() + timeout_s
        timer = loop.call_later(timeout_s, self.settle, request_id, FlowError(DEADLINE_EXCEEDED))
        self._outstanding[request_id] = (answered, timer)
        self._next_id += 1
        loop.call_soon(self._serve, request)
        return request_id

    def _take(self, request_id: int) -> Answered | None:
        """Whoever waits for this answer, who waits no more."""
        answered, timer = self._outstanding.pop(request_id, (None, None))
        if timer is not None:
            timer.cancel()
        return answered

    def note(self, topic: str, body: Any) -> bool:
        peer = self._peer
        if peer is None or not peer.is_open:
            return False
        raw = _encode(body, self.limits)

        def deliver() -> None:
            if peer.is_open:
                attempt("a note", self._service.note, peer, topic, raw)

        asyncio.get_running_loop().call_soon(deliver)
        return True

    async def close(self) -> None:
        self.cut("the link was closed")

    def _serve(self, request: LocalRequest) -> None:
        if not request.peer.is_open:
            return
        error = attempt("a request", self._service.request, request)
        if error is not None:
            request.fail(error if isinstance(error, FlowError) else FlowError(INTERNAL))

    def hear(self, topic: str, body: msgspec.Raw) -> None:
        attempt("pushed", self._listener.pushed, topic, body)

    def settle(self, request_id: int, outcome: msgspec.Raw | FlowError) -> None:
        answered = self._take(request_id)
        if answered is not None:
            attempt("an answer", answered, outcome)

    def lost(self, peer: LocalPeer, reason: str) -> None:
        if self._peer is not peer:
            return
        self._peer = None
        for request_id in list(self._outstanding):
            self.settle(request_id, FlowError(UNAVAILABLE))
        self._service.peer_lost(peer)
        self._listener.disconnected(reason)
