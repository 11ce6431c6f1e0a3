"""Whether people are members of rooms, asked by the batch: what is asked in one turn of the loop is one question.

The sources of facts ask here. A host that took over, or a crowd that came, makes many rooms ask in the same turn, and a
question for each costs storage and the host most of what one for all does. It promises an answer, or the error that
storage gave, to each who asks; it keeps nothing. What is asked at once is bounded by who asks: the loader's lane.
"""

import asyncio
from collections.abc import Sequence

from cluster.kernel.tasks import TaskOwner
from storage.bounds import batches
from storage.ports import Memberships

_Pair = tuple[str, str]
"""A room and a person."""


_Waiting = list[tuple[_Pair, "asyncio.Future[bool]"]]


class MembershipReads:
    def __init__(self, memberships: Memberships, tasks: TaskOwner) -> None:
        self._memberships = memberships
        self._tasks = tasks
        self._gathering: _Waiting | None = None
        """Who has asked in this turn; None when nobody has."""

    async def is_member(self, room_id: str, user_id: str) -> bool:
        """As of a moment after it was asked. Raises the FlowError that storage raised."""
        if self._gathering is None:
            gathered: _Waiting = []
            task = self._tasks.start("read memberships", self._read(gathered))
            task.add_done_callback(lambda _: self._let_go(gathered))
            self._gathering = gathered
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._gathering.append(((room_id, user_id), answer))
        return await answer

    async def _read(self, gathered: _Waiting) -> None:
        self._gathering = None
        for batch in batches(gathered):
            await self._answer(batch)

    async def _answer(self, batch: Sequence[tuple[_Pair, "asyncio.Future[bool]"]]) -> None:
        try:
            members = await self._memberships.members_among([pair for pair, _ in batch])
        except Exception as error:  # noqa: BLE001 - it is raised where the answer is waited for
            for _, answer in batch:
                if not answer.done():
                    answer.set_exception(error)
            return
        for pair, answer in batch:
            if not answer.done():
                answer.set_result(pair in members)

    def _let_go(self, gathered: _Waiting) -> None:
        """Nobody is asking for them any more: they have their answers, unless the asking was cancelled."""
        if self._gathering is gathered:
            self._gathering = None
        for _, answer in gathered:
            answer.cancel()
