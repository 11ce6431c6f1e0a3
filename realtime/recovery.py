"""Watching again: after a link or a host was lost, a key has moved, or a delivery is missing.

The edge tells it what happened; it asks the owners with Resume, in chunks, and gives the answers to the subscriptions.
Clients' sockets stay open meanwhile. It promises that a key is asked for by one request at a time, that what failed is
asked again when there is a newer view or link and at the latest after a pause that grows, and that sessions are told of
their sockets again. It decides nothing about deliveries.
"""

import asyncio
import contextlib
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Final

import msgspec

from actors.messages import METHOD_RESUME, Attachment, Moved, Position, Resume, ResumeReply
from cluster.kernel.errors import FlowError
from cluster.kernel.ids import Key, KeyKind, user_key
from cluster.kernel.tasks import TaskOwner
from cluster.kernel.wire import decode
from cluster.link.port import LinkClient
from cluster.placement.view import View
from realtime.engine.port import Connection
from realtime.limits import EdgeLimits
from realtime.router import Links, Refresh
from realtime.sockets import Sockets
from realtime.subscriptions import Subscriptions

_PAUSES_S: Final = (0.1, 0.2, 0.5, 1.0, 2.0)
_KEYS_A_TURN: Final = 500


class Wanted:
    """Keys to resume and people whose sessions to tell, each once, in the order they came."""

    __slots__ = ("keys", "people")

    def __init__(self) -> None:
        self.keys: dict[str, None] = {}
        self.people: dict[str, None] = {}

    def __bool__(self) -> bool:
        return bool(self.keys or self.people)

    def add(self, keys: Iterable[str], people: Iterable[str]) -> None:
        self.keys.update(dict.fromkeys(keys))
        self.people.update(dict.fromkeys(people))


def _owner(view: View, key: Key) -> str | None:
    member = view.host_for(key)
    return None if member is None else member.name


class Recovery:
    """One per edge. `start` it on the loop; the methods that say what happened never wait."""

    def __init__(self, links: Links, sockets: Sockets, limits: EdgeLimits, tasks: TaskOwner, refresh: Refresh) -> None:
        self.subscriptions: Subscriptions[Connection]
        self._links = links
        self._sockets = sockets
        self._limits = limits
        self._tasks = tasks
        self._refresh = refresh
        self._now = Wanted()
        self._later = Wanted()
        self._asking: set[str] = set()
        self._new_links: set[str] = set()
        self._view_before: View | None = None
        self._failures = 0
        self._due = 0.0
        self._wake = asyncio.Event()
        self._room = asyncio.Semaphore(limits.max_resumes_in_flight)
        self._counts: Counter[str] = Counter()

    def start(self) -> None:
        _ = self._tasks.start("recover", self._run())

    # --- what happened ------------------------------------------------------------------------------------------------

    def key_wanted(self, key: str) -> None:
        """The subscriptions want this key resumed."""
        self._now.keys[key] = None
        self._wake.set()

    def person_wanted(self, user_id: str) -> None:
        """This person's session may not know their sockets here."""
        self._now.people[user_id] = None
        self._wake.set()

    def link_connected(self, host: str) -> None:
        """There is a new link to this host, which knows nothing of what the old one watched."""
        self._new_links.add(host)
        self._wake.set()

    def view_changed(self, before: View) -> None:
        """The links follow a newer view than `before`."""
        if self._view_before is None:
            self._view_before = before
        self._wake.set()

    def moved(self, body: msgspec.Raw) -> None:
        """A host says that it has stopped telling us of some keys. Raises FlowError for a body that does not say so."""
        told = decode(body, Moved)
        if told.view > self._links.view.version:
            self._refresh()
        for key in told.keys:
            self.subscriptions.want_resume(key)
            kind, _, rest = key.partition("/")
            if kind == KeyKind.USER:
                self.person_wanted(rest)

    # --- asking -------------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            await self._woken()
            if self._new_links or self._view_before is not None:
                await self._scan()
            await self._ask_all()

    async def _woken(self) -> None:
        """Wait for something to do. What failed is due again after a pause, or when owners or links have changed."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(self._due if self._later else None):
                await self._wake.wait()
        self._wake.clear()
        if self._new_links or self._view_before is not None:
            self._failures = 0
        elif self._later and asyncio.get_running_loop().time() >= self._due:
            self._failures += 1  # looked at on every waking: others that come in between do not put it off
        else:
            return
        self._now.add(self._later.keys, self._later.people)
        self._later = Wanted()

    async def _scan(self) -> None:
        """Find what has a new owner or a new link, in turns with the rest of the loop."""
        links, self._new_links = self._new_links, set()
        before, self._view_before = self._view_before, None
        view = self._links.view

        def is_affected(key: Key) -> bool:
            owner = _owner(view, key)
            return owner is None or owner in links or (before is not None and _owner(before, key) != owner)

        for done, name in enumerate(self.subscriptions.keys(), 1):
            if is_affected(Key.parse(name)):
                self.subscriptions.want_resume(name)
            if done % _KEYS_A_TURN == 0:
                await asyncio.sleep(0)
        for done, user_id in enumerate(self._sockets.people(), 1):
            if is_affected(user_key(user_id)):
                self._now.add((), (user_id,))
            if done % _KEYS_A_TURN == 0:
                await asyncio.sleep(0)

    async def _ask_all(self) -> None:
        """Ask for everything that is wanted and not being asked for."""
        now, self._now = self._now, Wanted()
        keys = [key for key in now.keys if key not in self._asking]
        self._now.add((key for key in now.keys if key in self._asking), ())
        for link, (link_keys, link_people) in self._by_link(keys, now.people).items():
            if link is None or not link.is_connected:
                self._postpone(link_keys, link_people)
                continue
            attachments = self._sockets.attachments(link_people)
            size = self._limits.resume_chunk
            for start in range(0, max(len(link_keys), len(attachments)), size):
                await self._room.acquire()
                self._begin(link, link_keys[start : start + size], attachments[start : start + size])

    def _by_link(
        self, keys: Iterable[str], people: Iterable[str]
    ) -> dict[LinkClient | None, tuple[list[str], list[str]]]:
        by_link: defaultdict[LinkClient | None, tuple[list[str], list[str]]] = defaultdict(lambda: ([], []))
        for key in keys:
            by_link[self._link_for(Key.parse(key))][0].append(key)
        for user_id in people:
            by_link[self._link_for(user_key(user_id))][1].append(user_id)
        return by_link

    def _link_for(self, key: Key) -> LinkClient | None:
        try:
            return self._links.link_for(key)
        except FlowError:
            return None

    def _begin(self, link: LinkClient, keys: list[str], attachments: list[Attachment]) -> None:
        """One chunk, on the link before anything else happens: deliveries are held from the positions in it."""
        positions = self.subscriptions.begin_resume(keys)
        if not positions and not attachments:
            self._room.release()
            return
        request = Resume(positions=tuple(positions), attachments=tuple(attachments), view=self._links.view.version)
        self._asking.update(position.key for position in positions)
        self._counts["asked"] += len(positions)
        _ = self._tasks.start("resume", self._ask(link, request))

    async def _ask(self, link: LinkClient, request: Resume) -> None:
        asked = [position.key for position in request.positions]
        people = [attachment.user for attachment in request.attachments]
        try:
            answer = decode(await link.call(METHOD_RESUME, request, self._limits.resume_timeout_s), ResumeReply)
        except FlowError:
            self._asking.difference_update(asked)
            self._failed(asked, people)
        else:
            self._asking.difference_update(asked)
            if not self._later:
                self._failures = 0
            self._take_in(answer, request.positions)
        finally:
            self._room.release()
            if self._now or self._later:
                self._wake.set()

    def _take_in(self, answer: ResumeReply, positions: tuple[Position, ...]) -> None:
        left = {position.key for position in positions}
        for item in answer.items:
            if item.key not in left:
                # A session that could not be told of its sockets.
                self._postpone((), (Key.parse(item.key).id,) if item.error else ())
                continue
            left.remove(item.key)
            self._counts["reset" if item.reset else "recovered"] += 1
            if not self.subscriptions.resumed(item):
                self._postpone((item.key,), ())
        self._failed(left, ())

    def _failed(self, keys: Iterable[str], people: Iterable[str]) -> None:
        for key in keys:
            self.subscriptions.resume_failed(key)
        self._postpone(keys, people)

    def _postpone(self, keys: Iterable[str], people: Iterable[str]) -> None:
        wanted = [key for key in keys if key in self.subscriptions]
        if not self._later:
            pause = _PAUSES_S[min(self._failures, len(_PAUSES_S) - 1)]
            self._due = asyncio.get_running_loop().time() + pause
        self._later.add(wanted, people)
        self._counts["failed"] += len(wanted)
        if wanted or people:
            self._refresh()

    def statistics(self) -> dict[str, float]:
        return {
            "keys_to_resume": len(self._now.keys) + len(self._later.keys),
            "people_to_attach": len(self._now.people) + len(self._later.people),
            "keys_resuming": len(self._asking),
            **{f"resumes_{what}": count for what, count in self._counts.items()},
        }
