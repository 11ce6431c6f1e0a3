"""What the relay needs beyond storage: the sessions of people, wherever in the cluster they live, and event titles."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from actors.messages import Notified, Notify


class EventTitle(NamedTuple):
    title: str
    organizer_id: str


class Sessions(Protocol):
    """The user sessions of the whole cluster. Raises FlowError when a host does not answer in time."""

    async def online(self, user_ids: Sequence[str]) -> set[str]:
        """Which of these have a live socket. At most 500 a call."""

    async def notify(self, user_id: str, notify: Notify) -> Notified:
        """Idempotent by the notification's id."""


class EventTitles(Protocol):
    async def title(self, event_id: str) -> EventTitle | None: ...
