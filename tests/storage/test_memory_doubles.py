"""The in-memory doubles keep the contracts of the ports."""

import pytest

from cluster.kernel.errors import FlowError
from storage.records import AppendResult
from tests.storage.contract_analytics import AnalyticsContract
from tests.storage.contract_chat_fence import ChatFenceContract
from tests.storage.contract_chat_log import ROOM, ChatLogContract, append, claim, following
from tests.storage.contract_journals import JournalsContract
from tests.storage.contract_memberships import MembershipsContract
from tests.storage.contract_notifications import NotificationsContract, PutUser
from tests.storage.contract_outbox import OutboxContract
from tests.storage.contract_owed_messages import OwedMessagesContract
from tests.storage.contract_rsvp_ledger import PutEvent, RsvpLedgerContract
from tests.support.memory_analytics import MemoryAnalytics
from tests.support.memory_storage import (
    MemoryChatLog,
    MemoryJournals,
    MemoryMemberships,
    MemoryNotifications,
    MemoryOutbox,
    MemoryRsvpLedger,
)


class TestMemoryChatLog(ChatLogContract, ChatFenceContract, OwedMessagesContract):
    @pytest.fixture
    def log(self) -> MemoryChatLog:
        return MemoryChatLog()


class TestMemoryJournals(JournalsContract):
    @pytest.fixture
    def journals(self) -> MemoryJournals:
        return MemoryJournals()


class TestMemoryMemberships(MembershipsContract):
    @pytest.fixture
    def memberships(self) -> MemoryMemberships:
        return MemoryMemberships()


class TestMemoryRsvpLedger(RsvpLedgerContract):
    @pytest.fixture
    def ledger(self) -> MemoryRsvpLedger:
        return MemoryRsvpLedger()

    @pytest.fixture
    def put_event(self, ledger: MemoryRsvpLedger) -> PutEvent:
        return ledger.put_event


class TestMemoryNotifications(NotificationsContract):
    @pytest.fixture
    def notifications(self) -> MemoryNotifications:
        return MemoryNotifications()

    @pytest.fixture
    def put_user(self, notifications: MemoryNotifications) -> PutUser:
        return notifications.put_user


class TestMemoryOutbox(OutboxContract):
    @pytest.fixture
    def outbox(self) -> MemoryOutbox:
        return MemoryOutbox()


class TestMemoryAnalytics(AnalyticsContract):
    @pytest.fixture
    def analytics(self) -> MemoryAnalytics:
        return MemoryAnalytics()


async def test_a_fault_before_stores_nothing_and_one_after_stores_all() -> None:
    log = MemoryChatLog()
    [first] = following(await claim(log), 1)
    for fault, stored in (("before", []), ("after", [first])):
        log.faults.next.append(fault)
        with pytest.raises(FlowError):
            await append(log, first)
        assert await log.after(ROOM, 0, 10) == stored
    assert await append(log, first) == AppendResult(1)
