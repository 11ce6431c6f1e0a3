"""A relay and a worker on in-memory storage, with people whose sockets a test opens and closes."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from actors.messages import Notified, Notify
from actors.outbox.journal import Journal
from actors.outbox.journaled import JournaledLog
from actors.outbox.port import EventTitle
from actors.outbox.relay import OutboxRelay, RelayLimits
from actors.push.port import Outcome, Push, PushResult
from actors.push.worker import PushLimits, PushWorker
from cluster.kernel.clock import ManualClock
from cluster.kernel.errors import UNAVAILABLE, FlowError
from storage.records import Device, Message, User
from tests.support.memory_storage import MemoryStorage

ADA, BOB, CYD = ("a" * 24, "b" * 24, "c" * 24)
EVENT = "e" * 24


@dataclass
class People:
    """Users and devices as storage gives them."""

    users: dict[str, User] = field(default_factory=dict)
    kept: dict[str, Device] = field(default_factory=dict)

    def add(self, user_id: str, name: str, *, devices: int = 1, **preferences: bool) -> None:
        self.users[user_id] = User(
            id=user_id, username=name, email=None, password_hash="", name=name, notification_preferences=preferences
        )
        for index in range(devices):
            device_id = f"{user_id[:23]}{index}"
            self.kept[device_id] = Device(
                id=device_id, user_id=user_id, kind="token", value=f"{name}-{index}", platform="ios", last_seen_ms=0
            )

    async def by_ids(self, user_ids: Sequence[str]) -> list[User]:
        return [self.users[user_id] for user_id in set(user_ids) if user_id in self.users]

    async def by_id(self, some_id: str) -> Any:
        return self.users.get(some_id) or self.kept.get(some_id)

    async def of_users(self, user_ids: Sequence[str]) -> list[Device]:
        return [device for device in self.kept.values() if device.user_id in user_ids]

    async def remove(self, device_id: str) -> None:
        self.kept.pop(device_id, None)


@dataclass
class SessionsInMemory:
    """Who is live, and what each session was told, once an id."""

    live: set[str] = field(default_factory=set)
    told: dict[str, dict[str, Notify]] = field(default_factory=dict)
    away: bool = False

    async def online(self, user_ids: Sequence[str]) -> set[str]:
        if self.away:
            raise FlowError(UNAVAILABLE)
        return self.live & set(user_ids)

    async def notify(self, user_id: str, notify: Notify) -> Notified:
        mine = self.told.setdefault(user_id, {})
        mine.setdefault(notify.id, notify)
        return Notified(live=user_id in self.live, unread=len(mine))


class Titles:
    async def title(self, event_id: str) -> EventTitle | None:
        return EventTitle("Jazz night", ADA) if event_id == EVENT else None


@dataclass
class ScriptedSender:
    """Keeps what it was given; answers as scripted by the device's value."""

    script: dict[str, PushResult] = field(default_factory=dict)
    given: list[Push] = field(default_factory=list)

    async def send(self, pushes: Sequence[Push]) -> list[PushResult]:
        self.given.extend(pushes)
        return [self.script.get(push.device.value, PushResult(outcome=Outcome.SENT)) for push in pushes]

    async def close(self) -> None:
        return None


class World:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.storage = MemoryStorage()
        self.people = People()
        self.sessions = SessionsInMemory()
        self.sender = ScriptedSender()
        self.journal = Journal("life-0", limit=100, limit_bytes=1_000_000)
        self.members: Any = self.storage.memberships

    @property
    def chat_log(self) -> Any:
        return self.storage.chat_log

    @property
    def journals(self) -> Any:
        return self.storage.journals

    @property
    def memberships(self) -> Any:
        return self.members

    @property
    def rsvps(self) -> Any:
        return self.storage.rsvps

    @property
    def outbox(self) -> Any:
        return self.storage.outbox

    @property
    def analytics(self) -> Any:
        return self.storage.analytics

    @property
    def users(self) -> Any:
        return self.people

    @property
    def devices(self) -> Any:
        return self.people

    def relay(self, name: str = "host-0", journal: Journal | None = None, **limits: Any) -> OutboxRelay:
        """The relay of a host; `self.journal` is what hosts write into until a test says otherwise."""
        chosen = journal or self.journal
        return OutboxRelay(name, chosen, self, self.sessions, Titles(), self.clock, RelayLimits(**limits))

    def worker(self, **limits: Any) -> PushWorker:
        chance = random.Random(7)
        return PushWorker("host-0", self.outbox, self.devices, self.sender, self.clock, PushLimits(**limits), chance)

    async def say(
        self, room_id: str, kind: str, user_id: str, text: str = "hello", journal: Journal | None = None
    ) -> Message:
        head = await self.chat_log.claim(room_id, kind, 10, create=True)
        message = Message(
            id=head.sealed_id,
            room_id=room_id,
            seq=head.seq + 1,
            epoch=head.epoch,
            user_id=user_id,
            text=text,
            at_ms=self.clock.now_ms(),
            client_message_id=f"c{head.seq + 1}",
            first=True,
        )
        result = await JournaledLog(self.chat_log, journal or self.journal).append([message], [True])
        assert result.refusal is None
        return message


@pytest.fixture
def world() -> World:
    made = World()
    made.people.add(ADA, "ada")
    made.people.add(BOB, "bob", devices=2)
    made.people.add(CYD, "cyd")
    return made
