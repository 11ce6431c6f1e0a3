"""Answering Resume: many keys at once, each from its position, with nothing lost between the answer and the pushes.

The host starts one job for each request. Every key is asked in order with its other commands; from the moment a key has
answered, what it tells is held back behind a cork, and leaves right after the one reply that answers them all. What is
not ready in time, or does not fit, is answered with an error code for that key, and the edge asks again.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from actors.activation import Activation, Item
from actors.fanout import Cork, Edge, FanOuts
from actors.limits import HostLimits
from actors.messages import METHOD_RESUME, AttachConnection, Position, Resume, Resumed
from cluster.kernel.clock import Clock
from cluster.kernel.errors import DEADLINE_EXCEEDED, INVALID_REQUEST, MOVED, OVERLOADED, UNAVAILABLE, FlowError
from cluster.kernel.ids import user_key
from cluster.kernel.wire import encode_raw
from cluster.link.port import Peer, Request


class _EncodedReply(msgspec.Struct, frozen=True):
    """A `messages.ResumeReply` whose items are encoded already."""

    items: list[msgspec.Raw]


class _Part:
    """One key's share of a job: a `Request` whose answer goes to the job."""

    method = METHOD_RESUME
    body = msgspec.Raw(b"\x80")

    __slots__ = ("_job", "deadline", "error", "item", "peer", "position", "resumed")

    def __init__(self, job: "ResumeJob", peer: Peer, deadline: float, position: Position) -> None:
        self._job = job
        self.peer = peer
        self.deadline = deadline
        self.position = position
        self.item: Item | None = None
        self.resumed: Resumed | None = None
        self.error: str | None = None

    @property
    def is_answered(self) -> bool:
        return self.resumed is not None or self.error is not None

    def reply(self, body: Any) -> None:
        position = self.position
        is_position = isinstance(body, Resumed)
        self.resumed = body if is_position else Resumed(key=position.key, epoch=position.epoch, seq=position.seq)
        self._job.part_answered()

    def fail(self, error: FlowError) -> None:
        self.error = error.kind.code
        self._job.part_answered()

    def outcome(self) -> Resumed:
        if self.resumed is not None and self.error is None:
            return self.resumed
        position = self.position
        error = self.error or UNAVAILABLE.code
        return Resumed(key=position.key, epoch=position.epoch, seq=position.seq, error=error)


class ResumeJob:
    """`activation_of` finds or makes the activation of a key; `offer` hands it a command. Both may raise FlowError.
    `may_speak` says whether this host may still answer from what it knows."""

    def __init__(
        self,
        request: Request,
        edge: Edge,
        fan_outs: FanOuts,
        limits: HostLimits,
        clock: Clock,
        activation_of: Callable[[str], Activation],
        offer: Callable[[Item], None],
        may_speak: Callable[[], bool],
    ) -> None:
        self._request = request
        self._edge = edge
        self._fan_outs = fan_outs
        self._limits = limits
        self._clock = clock
        self._activation_of = activation_of
        self._offer = offer
        self._may_speak = may_speak
        self._parts: list[_Part] = []
        self._attachments: list[_Part] = []
        self._corks: dict[str, Cork] = {}
        self._unanswered = 0
        self._timer: asyncio.TimerHandle | None = None

    def start(self, resume: Resume) -> None:
        """Raises FlowError INVALID_REQUEST for a request with too many keys."""
        most = self._limits.max_resume_keys
        if len(resume.positions) > most or len(resume.attachments) > most:
            raise FlowError(INVALID_REQUEST, f"A resume has at most {most} positions and {most} attachments.")
        self._unanswered = 1 + len(resume.positions) + len(resume.attachments)
        for attachment in resume.attachments:
            key = str(user_key(attachment.user))
            part = self._part(Position(key=key, epoch=0, seq=0))
            self._attachments.append(part)
            self._ask(part, AttachConnection(), attachment.user, attachment.connection)
        for position in resume.positions:
            part = self._part(position)
            self._parts.append(part)
            self._ask(part, position)
        now = self._clock.monotonic()
        wait = max(0.0, (self._request.deadline - now) * self._limits.resume_share)
        self._timer = asyncio.get_running_loop().call_later(wait, self._give_up)
        self.part_answered()

    def _part(self, position: Position) -> _Part:
        return _Part(self, self._request.peer, self._request.deadline, position)

    def _ask(self, part: _Part, body: Any, user: str = "", connection: str = "") -> None:
        try:
            activation = self._activation_of(part.position.key)
            item = Item(activation, body, part, user=user, connection=connection, edge=self._edge.label, watch=True)
            item.cork = self._corks.setdefault(activation.name, Cork(activation, self._limits.max_corked_bytes))
            part.item = item
            self._offer(item)
        except FlowError as error:
            part.fail(error)

    def part_answered(self) -> None:
        self._unanswered -= 1
        if self._unanswered == 0:
            self._finish()

    def _give_up(self) -> None:
        """What is ready is answered; the rest is not watched."""
        self._unanswered = -1
        for part in (*self._parts, *self._attachments):
            if part.item is not None:
                part.item.refuse(FlowError(DEADLINE_EXCEEDED))
        self._finish()

    def _finish(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if not self._may_speak():
            for part in (*self._parts, *self._attachments):
                self._drop(part, MOVED.code)  # some were answered before this process stood still
        known = {part.position.key for part in self._parts}
        lost = [part for part in self._attachments if part.error is not None and part.position.key not in known]
        size = 0
        encoded: list[msgspec.Raw] = []
        for part in (*self._parts, *lost):
            self._check_watched(part)
            answer = encode_raw(part.outcome())
            size += len(memoryview(answer))
            if size > self._limits.max_resumed_bytes and encoded:
                size -= len(memoryview(answer))
                self._drop(part, OVERLOADED.code)
                answer = encode_raw(part.outcome())
            encoded.append(answer)
        self._request.reply(_EncodedReply(encoded))
        for cork in self._corks.values():
            self._fan_outs.uncork(self._edge, cork)

    def _check_watched(self, part: _Part) -> None:
        """A key that left, or told more than the cork holds, must be asked again."""
        cork = self._corks.get(part.position.key)
        if part.error is not None or cork is None:
            return
        watchers = cork.activation.watchers
        if watchers is None or watchers.get(self._edge) is not cork:
            part.error = MOVED.code
        elif cork.has_overflowed:
            self._drop(part, OVERLOADED.code)

    def _drop(self, part: _Part, error: str) -> None:
        part.error = error
        cork = self._corks.get(part.position.key)
        if cork is not None:
            self._fan_outs.unwatch(self._edge, cork.activation)
