"""Sessions over the links between hosts: a question for many people goes out as one request a host."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import msgspec

from actors import messages
from actors.messages import Command, Notified, Notify, Online, OnlineReply
from cluster.kernel.errors import UNAVAILABLE, FlowError
from cluster.kernel.ids import Key, user_key
from cluster.kernel.wire import encode
from cluster.link.port import LinkClient

ANSWER_TIMEOUT_S: Final = 3.0

Reply = TypeVar("Reply")


class LinkedSessions:
    """`link_for` gives the link to the host that owns a key, or raises UNAVAILABLE."""

    def __init__(self, link_for: Callable[[Key], LinkClient]) -> None:
        self._link_for = link_for

    async def online(self, user_ids: Sequence[str]) -> set[str]:
        by_link: dict[LinkClient, list[str]] = defaultdict(list)
        for user_id in user_ids:
            by_link[self._link_for(user_key(user_id))].append(user_id)
        replies = await asyncio.gather(
            *(
                self._ask(link, messages.METHOD_ONLINE, Online(users=tuple(users)), OnlineReply)
                for link, users in by_link.items()
            )
        )
        return {user for reply in replies for user in reply.users}

    async def notify(self, user_id: str, notify: Notify) -> Notified:
        key = user_key(user_id)
        command = Command(key=str(key), name="session.notify", user=user_id, body=msgspec.Raw(encode(notify)))
        return await self._ask(self._link_for(key), messages.METHOD_COMMAND, command, Notified)

    async def _ask(self, link: LinkClient, method: str, body: Any, reply: type[Reply]) -> Reply:
        raw = await link.call(method, body, ANSWER_TIMEOUT_S)
        try:
            return msgspec.msgpack.decode(raw, type=reply)
        except msgspec.ValidationError as error:
            raise FlowError(UNAVAILABLE, "A host answered in a form this build does not know.") from error
