"""Every bound of a host and of the rooms in it, with units in the names.

The composition root builds one `HostLimits` from the settings; the defaults suit one host with half a gigabyte. Nothing
in `actors` holds anything that is not bounded by a number here.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class RoomLimits:
    """Bounds of the pure machines."""

    max_text_characters: int = 4_000
    max_text_bytes: int = 16_000
    max_client_message_id_characters: int = 128
    window_messages: int = 256
    """Newest messages kept in memory: what a reconnecting client usually missed, and what duplicates are known by."""
    window_bytes: int = 256 * 1024
    idle_window_messages: int = 4
    idle_window_bytes: int = 1_024
    load_window_messages: int = 32
    """How many are read when a room is activated."""
    page_messages: int = 50
    max_page_messages: int = 100
    catch_up_messages: int = 1_000
    """A client that missed more gets the newest page instead."""
    catch_up_bytes: int = 1024 * 1024
    known_members: int = 512
    idle_known_members: int = 4
    membership_known_ms: int = 60_000
    """How long a member who was removed may still be taken for one."""
    known_answers: int = 256
    """RSVPs kept in memory of an event; must exceed HostLimits.fetch_ahead."""
    promotions_a_step: int = 64
    known_notifications: int = 64
    idle_known_notifications: int = 4
    max_notification_characters: int = 2_000
    max_connections_a_session: int = 64


@dataclass(frozen=True, slots=True)
class HostLimits:
    """Bounds of one host."""

    max_active: int = 50_000
    """Rooms and sessions in memory; past it the least recently used idle one makes room."""
    idle_s: float = 60.0
    """An activation that nobody watches and nothing touches leaves memory after this long."""
    trim_after_s: float = 5.0
    """An activation that nothing touches gives back its caches after this long."""
    sweep_interval_s: float = 1.0
    sweep_slice: int = 2_000
    """Activations looked at in one sweep, so that a sweep never stalls the loop."""
    deadline_interval_s: float = 0.1
    max_waiting_per_key: int = 2_048
    """Commands of one key in its inbox and behind its output gate."""
    max_waiting: int = 32_768
    """Commands in all inboxes and gates together."""
    retry_after_ms: int = 250
    concurrent_claims: int = 8
    """Rooms and events that are claimed by themselves at once: everybody else's share the processor with them."""
    claim_batch: int = 32
    """Chat rooms that are claimed together; some 5 ms of storage's time."""
    concurrent_fetches: int = 64
    """Facts never wait behind claims."""
    session_batch: int = 500
    """Sessions that are read at once, and become active in one turn of the loop."""
    session_rest_s: float = 0.01
    """From one batch to the next, unless that is full: most of what a batch costs it costs for one as for fifty. Who
    comes alone waits for nothing."""
    fetch_ahead: int = 32
    """For how many commands of one inbox facts are fetched at once."""
    load_attempts: int = 4
    load_backoff_s: float = 0.05
    decide_attempts: int = 6
    """How often one command is decided again after its write was refused."""
    concurrent_marks: int = 16
    max_waiting_marks: int = 4_096
    batch_rows: int = 500
    batch_bytes: int = 1024 * 1024
    max_queued_rows: int = 16_384
    max_queued_bytes: int = 32 * 1024 * 1024
    commit_backoff_s: float = 0.02
    commit_backoff_cap_s: float = 1.0
    push_bytes: int = 1024 * 1024
    """A batch to one edge is cut at this size."""
    max_resume_keys: int = 256
    max_corked_bytes: int = 1024 * 1024
    """What may gather for one watcher of one key while its resume is being answered."""
    max_resumed_bytes: int = 4 * 1024 * 1024
    """Missed deliveries in one answer to Resume; the rest is told to ask again."""
    resume_share: float = 0.8
    """The share of a Resume's time after which what is ready is answered."""
    max_online_users: int = 500
    stop_timeout_s: float = 5.0
    rooms: RoomLimits = field(default_factory=RoomLimits)

    def __post_init__(self) -> None:
        if self.rooms.known_answers <= self.fetch_ahead:
            raise ValueError("rooms.known_answers must exceed fetch_ahead")
        if max(self.batch_rows, self.session_batch, self.claim_batch) > 500:
            raise ValueError("batch_rows, session_batch, claim_batch: at most 500, the largest batch storage takes")
        if self.rooms.promotions_a_step + 1 > self.batch_rows:
            raise ValueError("rooms.promotions_a_step must leave a step's rows within one batch")
