"""Storage in memory, for tests that need no database. Each part is held to the same contract suite as the real one."""

from storage.ports import Analytics, ChatLog, Journals, Memberships, Notifications, Outbox, RsvpLedger
from tests.support.memory_analytics import MemoryAnalytics
from tests.support.memory_chat_log import MemoryChatLog, MemoryMemberships
from tests.support.memory_journals import MemoryJournals
from tests.support.memory_notifications import MemoryNotifications, MemoryOutbox
from tests.support.memory_rsvp_ledger import MemoryRsvpLedger

__all__ = [
    "MemoryAnalytics",
    "MemoryChatLog",
    "MemoryJournals",
    "MemoryMemberships",
    "MemoryNotifications",
    "MemoryOutbox",
    "MemoryRsvpLedger",
    "MemoryStorage",
]


class MemoryStorage:
    """The doubles together, under the names that the real storage uses."""

    def __init__(self) -> None:
        self.chat_log = MemoryChatLog()
        self.journals = MemoryJournals()
        self.memberships = MemoryMemberships()
        self.rsvps = MemoryRsvpLedger()
        self.notifications = MemoryNotifications()
        self.outbox = MemoryOutbox()
        self.analytics = MemoryAnalytics()


def _held_to_the_ports(
    storage: MemoryStorage,
) -> tuple[ChatLog, Journals, Memberships, RsvpLedger, Notifications, Outbox, Analytics]:
    """Checked by mypy alone."""
    ledgers = (storage.chat_log, storage.journals, storage.memberships, storage.rsvps)
    return *ledgers, storage.notifications, storage.outbox, storage.analytics
