"""Memberships, answers, notifications and the outbox on real MongoDB keep the contracts of the ports."""

import pytest

from cluster.kernel.clock import SystemClock
from storage.dates import to_date
from storage.events import MongoEvents
from storage.memberships import MongoMemberships
from storage.notifications import MongoNotifications
from storage.outbox import MongoOutbox
from storage.records import User
from storage.rsvps import MongoRsvpLedger
from storage.users import MongoUsers
from tests.conftest import OpenDatabase
from tests.storage.contract_memberships import MembershipsContract
from tests.storage.contract_notifications import NotificationsContract, PutUser
from tests.storage.contract_outbox import OutboxContract
from tests.storage.contract_rsvp_ledger import PutEvent, RsvpLedgerContract

pytestmark = pytest.mark.storage


class TestMongoMemberships(MembershipsContract):
    @pytest.fixture
    async def memberships(self, open_database: OpenDatabase) -> MongoMemberships:
        return MongoMemberships(await open_database("memberships"))


class TestMongoRsvpLedger(RsvpLedgerContract):
    @pytest.fixture
    async def ledger(self, open_database: OpenDatabase) -> MongoRsvpLedger:
        return MongoRsvpLedger(await open_database("rsvps"))

    @pytest.fixture
    async def put_event(self, open_database: OpenDatabase) -> PutEvent:
        events = MongoEvents(await open_database(), SystemClock())

        async def put(
            event_id: str,
            *,
            organizer_id: str = "organizer",
            title: str = "An event",
            visibility: str = "public",
            starts_at_ms: int = 0,
            ends_at_ms: int = 0,
            capacity: int | None = None,
            requirements: dict | None = None,
        ) -> None:
            await events.create(
                {
                    "_id": event_id,
                    "title": title,
                    "organizer": {"id": organizer_id, "name": "O", "type": "individual"},
                    "datetime": {"start": to_date(starts_at_ms), "end": to_date(ends_at_ms)},
                    "visibility": visibility,
                    "capacity": {"max": capacity},
                    "requirements": requirements or {},
                }
            )

        return put


class TestMongoNotifications(NotificationsContract):
    @pytest.fixture
    async def notifications(self, open_database: OpenDatabase) -> MongoNotifications:
        return MongoNotifications(await open_database("notifications"))

    @pytest.fixture
    async def put_user(self, open_database: OpenDatabase) -> PutUser:
        users = MongoUsers(await open_database(), SystemClock())

        async def put(user_id: str) -> None:
            await users.create(User(id=user_id, username=user_id, email=None, password_hash="x", name=user_id))

        return put


class TestMongoOutbox(OutboxContract):
    @pytest.fixture
    async def outbox(self, open_database: OpenDatabase) -> MongoOutbox:
        return MongoOutbox(await open_database("outbox"))
