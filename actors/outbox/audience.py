"""Who of some rooms' people has no live socket: storage is asked by the page, and each host once a page.

Used by the relay. A page holds people of many small rooms or a part of a large one, so neither many rooms nor large
ones cost a question each, and memory is bounded by the page. It tells nobody anything.
"""

from collections import defaultdict
from collections.abc import AsyncIterator, Sequence

from actors.outbox.port import Sessions
from cluster.kernel.ids import Room
from storage.bounds import batches
from storage.ports import Memberships

Belongs = tuple[str, str]
"""A room's id and a person's."""


class Audience:
    """`page` is at most 500, the most that storage gives and sessions are asked for at once."""

    def __init__(self, memberships: Memberships, sessions: Sessions, page: int) -> None:
        self._memberships = memberships
        self._sessions = sessions
        self._page = page

    async def away(self, rooms: Sequence[Room]) -> AsyncIterator[dict[str, list[str]]]:
        """By room, those who are away: a page at a time, a room of many people on several pages, one where all are here
        on none. Raises FlowError when storage or a host does not answer."""
        async for page in self._pages(rooms):
            online = await self._sessions.online(list(dict.fromkeys(user_id for _, user_id in page)))
            away: dict[str, list[str]] = defaultdict(list)
            for room_id, user_id in page:
                if user_id not in online:
                    away[room_id].append(user_id)
            yield away

    async def _pages(self, rooms: Sequence[Room]) -> AsyncIterator[list[Belongs]]:
        named = [(room.id, person) for room in rooms for person in room.people or ()]
        for some in batches(named, self._page):
            yield list(some)
        for listed in batches([room.id for room in rooms if room.people is None]):
            after: Belongs | None = None
            page: list[Belongs] = []
            while after is None or len(page) == self._page:
                page = await self._memberships.members(listed, after, self._page)
                if not page:
                    break
                yield page
                after = page[-1]
