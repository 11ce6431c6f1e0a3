"""Sessions that were ended early, by logging out: their sockets are closed on every edge, and they open no new ones.

A session is a family of refresh tokens, and its end a mark in storage. Whoever ends one tells a topic that every edge
watches, so its sockets go at once. A topic may lose what it tells; so an edge also asks storage: of each session that
comes, and of all it holds once a minute and when a link is new. While storage is away nobody is refused for it, because
access tokens are short-lived. It promises one question at a time, of at most 500 sessions, and that no more than 16
newcomers are answered at once: they go on in one turn of the loop, which others wait for.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Collection
from typing import Any, Final, Protocol

from actors.messages import Delivery, Done, PublishToTopic, WatchTopic
from cluster.kernel.errors import SESSION_REVOKED, FlowError
from cluster.kernel.ids import topic_key
from cluster.kernel.tasks import TaskOwner
from realtime.announcements import Commands
from realtime.router import Router
from realtime.sockets import Sockets
from realtime.subscriptions import Subscriptions

_log = logging.getLogger("flow.edge")

REVOCATIONS: Final = topic_key("revocations")
REVOKED: Final = "session:revoked"

_TELL_TIMEOUT_S: Final = 2.0
_CHECK_TIMEOUT_S: Final = 1.0
_OPEN_S: Final = 0.25
"""How long a question that waits for its turn takes newcomers: so much longer may the first of them have to wait."""

_SWEEP_INTERVAL_S: Final = 60.0
_WATCH_PAUSE_S: Final = 1.0
_SETTLE_S: Final = 1.0
"""After a link is new, until the topic is watched on it again."""

_SESSIONS_A_QUESTION: Final = 500
_NEWCOMERS_A_QUESTION: Final = 200
_ANSWERS_A_TURN: Final = 16
_GATHER_S: Final = 0.01
"""How long those who came while a question was asked wait for more of them: a crowd costs few questions, and one who
comes alone waits for nothing."""

_MAX_KNOWN: Final = 4_096


class RevokedSessions(Protocol):
    """The part of `storage.refresh_tokens.RefreshTokens` that is used here."""

    async def revoked_among(self, family_ids: Collection[str]) -> set[str]: ...


async def tell_revoked(router: Commands, session_id: str) -> None:
    """Every edge closes this session's sockets. The mark must be in storage; what cannot be told now ends later."""
    publish = PublishToTopic(name=REVOKED, body={"sessionId": session_id})
    try:
        _ = await router.command("", REVOCATIONS, "topic.publish", publish, Done, timeout_s=_TELL_TIMEOUT_S)
    except FlowError as error:
        _log.warning("the edges were not told of a session's end: %s", error.kind.code)


class _Question:
    """Sessions that are asked of together. Whoever waits gets True when theirs has ended, False when not, and None when
    the time is over: one timer for all of them, so a question takes newcomers for a short while only."""

    __slots__ = ("_clock", "_closed_at", "_timer", "sessions", "waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.sessions: set[str] = set()
        self.waiting: list[tuple[str, asyncio.Future[bool | None]]] = []
        self._clock = loop.time
        self._closed_at = loop.time() + _OPEN_S
        self._timer = loop.call_later(_OPEN_S + _CHECK_TIMEOUT_S, self._give_up)

    @property
    def is_full(self) -> bool:
        return len(self.waiting) >= _NEWCOMERS_A_QUESTION

    @property
    def is_closed(self) -> bool:
        return self.is_full or self._clock() >= self._closed_at

    def ask(self, session_id: str) -> "asyncio.Future[bool | None]":
        future: asyncio.Future[bool | None] = asyncio.get_running_loop().create_future()
        self.sessions.add(session_id)
        self.waiting.append((session_id, future))
        return future

    async def answer(self, revoked: Collection[str]) -> None:
        """A few a turn: each goes on with its admission at once."""
        self._timer.cancel()
        for answered, (session_id, future) in enumerate(self.waiting, start=1):
            if not future.done():
                future.set_result(session_id in revoked)
            if answered % _ANSWERS_A_TURN == 0:
                await asyncio.sleep(0)

    def _give_up(self) -> None:
        for _, future in self.waiting:
            if not future.done():
                future.set_result(None)


class Revocations:
    """One edge's part in it."""

    def __init__(self, sessions: RevokedSessions, sockets: Sockets, tasks: TaskOwner) -> None:
        self._sessions = sessions
        self._sockets = sockets
        self._tasks = tasks
        self._questions: deque[_Question] = deque()
        self._is_asking = False
        self._missed = asyncio.Event()
        self._known: dict[str, None] = {}
        self._revoked = 0
        self._unanswered = 0

    # --- one that comes -----------------------------------------------------------------------------------------------

    def ask(self, session_id: str) -> "asyncio.Future[bool | None]":
        """Ask storage; whoever comes goes on meanwhile, and is let in by `judge` alone.

        Raises FlowError SESSION_REVOKED for one that this edge knows to have ended.
        """
        self._check_known(session_id)
        try:
            return self._question_about().ask(session_id)
        except RuntimeError:  # no task may be started for it
            unanswered: asyncio.Future[bool | None] = asyncio.get_running_loop().create_future()
            unanswered.set_result(None)
            return unanswered

    def judge(self, session_id: str, has_ended: bool | None) -> None:
        """By what storage answered, and by what this edge was told meanwhile. Lets in whom storage cannot tell of in
        time. Raises FlowError SESSION_REVOKED."""
        if has_ended is None:
            self._unanswered += 1
        elif has_ended:
            self._remember(session_id)
        self._check_known(session_id)

    def _check_known(self, session_id: str) -> None:
        if session_id in self._known:
            raise FlowError(SESSION_REVOKED)

    def _question_about(self) -> _Question:
        """The next question, which may be asked of one session more."""
        if not self._is_asking:
            _ = self._tasks.start("revocations", self._ask_all())
            self._is_asking = True
        if not self._questions or self._questions[-1].is_closed:
            self._questions.append(_Question(asyncio.get_running_loop()))
        return self._questions[-1]

    async def _ask_all(self) -> None:
        try:
            while self._questions:
                question = self._questions.popleft()
                await question.answer(await self._ask(question.sessions))
                if self._questions and not self._questions[0].is_full:
                    await asyncio.sleep(_GATHER_S)
        finally:
            self._is_asking = False

    async def _ask(self, sessions: Collection[str]) -> set[str]:
        try:
            return await self._sessions.revoked_among(sessions)
        except FlowError as error:
            self._unanswered += len(sessions)
            _log.warning("whether sessions have ended could not be asked: %s", error.kind.code)
            return set()

    # --- those that are here ------------------------------------------------------------------------------------------

    def told(self, session_id: str) -> None:
        """It has ended: its sockets here are closed, and it opens no new ones."""
        self._remember(session_id)
        for socket in self._sockets.of_session(session_id):
            for connection in tuple(socket.connections)[:1]:
                connection.close(SESSION_REVOKED)

    def _remember(self, session_id: str) -> None:
        if session_id not in self._known:
            self._revoked += 1
            self._known[session_id] = None
            if len(self._known) > _MAX_KNOWN:
                del self._known[next(iter(self._known))]

    async def sweep(self) -> None:
        """Ask of every session that has a socket here."""
        sessions = self._sockets.sessions()
        for start in range(0, len(sessions), _SESSIONS_A_QUESTION):
            for session_id in await self._ask(sessions[start : start + _SESSIONS_A_QUESTION]):
                self.told(session_id)

    def hear(self, delivery: Delivery) -> None:
        """What the topic tells."""
        session_id = delivery.body.get("sessionId")
        if isinstance(session_id, str):
            self.told(session_id)

    async def run(self, router: Router, subscriptions: Subscriptions[Any]) -> None:
        """Watch the topic, and sweep now and then, until cancelled. Recovery keeps the watch alive."""
        is_watched = False
        try:
            while True:
                is_watched = is_watched or await self._watch(router, subscriptions)
                await self.sweep()
                await self._rest(_SWEEP_INTERVAL_S if is_watched else _WATCH_PAUSE_S)
        finally:
            subscriptions.disconnect(self)

    def may_have_missed(self) -> None:
        """A link is new: what was told meanwhile did not come here."""
        self._missed.set()

    async def _rest(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._missed.wait()
                await asyncio.sleep(_SETTLE_S)
        self._missed.clear()

    async def _watch(self, router: Router, subscriptions: Subscriptions[Any]) -> bool:
        ticket = subscriptions.begin_join(self, str(REVOCATIONS))
        try:
            _ = await router.command("", REVOCATIONS, "topic.watch", WatchTopic(), Done, watch=True)
        except FlowError:
            subscriptions.fail(ticket)
            return False
        _ = subscriptions.complete(ticket, 0, 0)
        return True

    def statistics(self) -> dict[str, float]:
        return {
            "sessions_revoked": self._revoked,
            "sessions_unchecked": self._unanswered,
            "session_checks_waiting": sum(len(question.sessions) for question in self._questions),
        }
