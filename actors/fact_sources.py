"""Where each kind of fact comes from: one storage call, or a bounded few, for each.

Called by the loader. It never caches: what it returns was true when it was asked, or a moment later.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from actors.facts import (
    Admitted,
    Fact,
    Invited,
    MarkedRead,
    Member,
    MessagesAfter,
    MessagesBefore,
    NotificationsPage,
    OwnRsvp,
    Person,
    RsvpNow,
    StoredMessage,
    Terms,
    WireEvent,
)
from actors.membership_reads import MembershipReads
from actors.ports import HostPorts
from cluster.kernel.clock import Clock
from cluster.kernel.tasks import TaskOwner
from storage.records import Message

_PAGE: Final = 500
"""The largest page storage gives."""


class FactSources:
    def __init__(self, ports: HostPorts, clock: Clock, tasks: TaskOwner) -> None:
        self._ports = ports
        self._clock = clock
        memberships = MembershipReads(ports.memberships, tasks)
        self._sources: dict[type[Fact], Callable[[Any], Awaitable[Any]]] = {
            Member: lambda fact: memberships.is_member(fact.room_id, fact.user_id),
            Admitted: self._admit,
            StoredMessage: lambda fact: ports.chat_log.by_client_message_id(
                fact.room_id, fact.user_id, fact.client_message_id
            ),
            MessagesAfter: self._messages_after,
            MessagesBefore: lambda fact: ports.chat_log.before(fact.room_id, fact.seq, fact.limit),
            Terms: lambda fact: ports.events.terms(fact.event_id),
            WireEvent: lambda fact: ports.events.wire(fact.event_id),
            Invited: lambda fact: ports.events.is_invited(fact.event_id, fact.user_id),
            OwnRsvp: lambda fact: ports.rsvps.rsvp(fact.event_id, fact.user_id),
            RsvpNow: lambda fact: ports.rsvps.rsvp(fact.event_id, fact.user_id),
            Person: lambda fact: ports.users.by_id(fact.user_id),
            NotificationsPage: lambda fact: ports.notifications.page(fact.user_id, fact.before_id, fact.limit),
            MarkedRead: lambda fact: ports.notifications.mark_read(fact.user_id, fact.notification_id),
        }

    async def find(self, fact: Fact) -> Any:
        """The fact's answer. Raises the FlowError that storage raised."""
        return await self._sources[type(fact)](fact)

    async def _admit(self, fact: Admitted) -> bool:
        await self._ports.memberships.add(fact.room_id, [fact.user_id], self._clock.now_ms())
        return True

    async def _messages_after(self, fact: MessagesAfter) -> list[Message]:
        messages: list[Message] = []
        seq = fact.seq
        while len(messages) < fact.limit:
            wanted = min(_PAGE, fact.limit - len(messages))
            page = await self._ports.chat_log.after(fact.room_id, seq, wanted)
            messages += page
            if len(page) < wanted:
                break
            seq = page[-1].seq
        return messages
