"""The client of one polling session, whose HTTP library repeats, overlaps and abandons GETs, and what it must be told.

An input is steps of two bytes: what to do, and with which mark. The promise held against every run: what was sent to
the session arrives once and in order in the answers that are no repeats, and a repeat says what the first one said.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import IntEnum
from itertools import islice
from typing import Final

from aiohttp import web

from tests.fuzz.framing import Wrong

Ask = Callable[[str, str, bytes], Awaitable[web.Response]]
"""Method, mark and body of a request of this session."""

OPENING_MARK: Final = "o"
"""Said at the opening; a client that says it again in its polls says it always, so it is no mark."""

_MAX_STEPS: Final = 24
_MARKS: Final = ("", OPENING_MARK, "a", "b", "c", "d")


class Step(IntEnum):
    GET = 0
    GET_NEXT = 1
    """With a mark that was never there."""
    SEND = 2
    ABANDON = 3
    """The oldest GET that waits."""


@dataclass(slots=True)
class _Poll:
    request: asyncio.Task[web.Response]
    repeats: bytes | None
    """The answer that this one must be given again."""
    is_replaced: bool = False
    """Repeated while it waited: it is refused, and the session goes on."""


class PollingClient:
    """`turn` lets everything happen that can."""

    def __init__(self, ask: Ask, turn: Callable[[], Awaitable[None]]) -> None:
        self._ask = ask
        self._turn = turn
        self._polls: list[_Poll] = []
        self._mark = ""
        self._answer: bytes | None = None
        self._next_mark = 0
        self._sent = 0
        self._heard: list[bytes] = []
        self._is_over = False
        """The session has ended: it need keep no promise any more."""

    async def follow(self, steps: bytes) -> None:
        """The first of them. Raises Wrong."""
        for step, mark in islice(zip(steps[::2], steps[1::2], strict=False), _MAX_STEPS):
            if self._is_over:
                return
            match Step(step % len(Step)):
                case Step.GET:
                    self._get(_MARKS[mark % len(_MARKS)])
                case Step.GET_NEXT:
                    self._get(self._new_mark())
                case Step.SEND:
                    await self._send()
                case Step.ABANDON if self._polls:
                    self._is_over = not self._polls[0].is_replaced
                    self._polls[0].request.cancel()
            await self._turn()
            self._hear()

    async def fetch_the_rest(self, is_owed: Callable[[], bool]) -> None:
        """What a client does that is still there. Raises Wrong when something was lost."""
        while is_owed() and not self._polls and not self._is_over:
            self._get(self._new_mark())
            await self._turn()
            self._hear()
        if len(self._heard) != self._sent and not self._is_over:
            raise Wrong(f"{len(self._heard)} of {self._sent} arrived")

    async def go(self) -> None:
        for poll in self._polls:
            poll.request.cancel()
        await asyncio.gather(*(poll.request for poll in self._polls), return_exceptions=True)

    def _new_mark(self) -> str:
        self._next_mark += 1
        return f"n{self._next_mark}"

    def _get(self, mark: str) -> None:
        repeats = None
        if mark in ("", OPENING_MARK) or mark != self._mark:
            self._mark, self._answer = "" if mark == OPENING_MARK else mark, None
        else:
            repeats = self._answer
            for poll in self._polls:
                poll.is_replaced = True
        self._polls.append(_Poll(asyncio.ensure_future(self._ask("GET", mark, b"")), repeats))

    async def _send(self) -> None:
        answer = await self._ask("POST", "p", b"4%d" % self._sent)
        self._is_over = answer.status != 200
        self._sent += 1

    def _hear(self) -> None:
        for poll in [one for one in self._polls if one.request.done()]:
            self._polls.remove(poll)
            if not poll.request.cancelled():
                self._take(poll, poll.request.result())
        if any(poll.is_replaced for poll in self._polls):
            raise Wrong("a poll that was repeated still waits")

    def _take(self, poll: _Poll, answer: web.Response) -> None:
        if answer.status not in (200, 400):
            raise Wrong(f"a poll was answered {answer.status}")
        if answer.status == 400:
            self._is_over = self._is_over or not poll.is_replaced
            return
        if self._is_over:
            return
        assert isinstance(answer.body, bytes)
        if poll.repeats is not None:
            if answer.body != poll.repeats:
                raise Wrong(f"a repeat was told {answer.body!r}, not {poll.repeats!r}")
            return
        self._answer = answer.body
        self._heard += [packet for packet in answer.body.split(b"\x1e") if packet.startswith(b"4")]
        if self._heard != [b"4%d" % number for number in range(len(self._heard))]:
            raise Wrong(f"out of order: {self._heard}")
