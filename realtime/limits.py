"""Every bound of one edge, in one place, with its unit in its name.

Made from the settings by whoever composes the edge, and read by admission, subscriptions, the router and the HTTP API.
It promises that a combination that cannot work is refused when it is made. It decides nothing itself.
"""

from dataclasses import dataclass, field, fields
from typing import Final, Literal


@dataclass(frozen=True, slots=True)
class Rate:
    """`per_second` requests sustained and `burst` at once."""

    per_second: float
    burst: int

    def __post_init__(self) -> None:
        if self.per_second <= 0 or self.burst < 1:
            raise ValueError("a rate needs per_second > 0 and burst >= 1")


DEFAULT_RATES: Final[dict[str, Rate]] = {
    "chat:send_message": Rate(50.0, 200),
    "chat:typing": Rate(5.0, 20),
    "chat:read": Rate(20.0, 60),
    "chat:join_room": Rate(20.0, 256),
    "chat:history": Rate(10.0, 40),
    "event:interested": Rate(10.0, 40),
    "event:rsvp": Rate(10.0, 40),
    "event:join_updates": Rate(20.0, 256),
    "auth:refresh": Rate(0.2, 5),
}
"""Per socket and event name. One person's hands stay far below; a script meets them."""


@dataclass(frozen=True, slots=True)
class EdgeLimits:
    """Bounds of one edge process. Zero is not allowed anywhere but in `drain_spread_s`."""

    max_sockets: int = 18_000
    """Of the engine's bound and this the lesser one holds for both."""
    max_sockets_per_user: int = 20
    max_sockets_per_address: int = 18_000
    connections_per_address: Rate = Rate(2_000.0, 20_000)

    arrivals: Rate = Rate(3_000.0, 6_000)
    """New sockets of the whole edge, whoever they are; beyond it they are answered 503 before anything is done."""

    pressure_interval_s: float = 0.1
    """How often the edge looks at its own load; `loop_held_s_max` and `loop_blocked_s_max` are as fine as this."""
    shed_at: float = 0.9
    """The share of its sockets or requests at which the edge is not ready any more."""
    recover_at: float = 0.75
    shed_lag_s: float = 1.0
    recover_lag_s: float = 0.25
    recover_after_s: float = 2.0
    """How long everything must have been below `recover_at` and `recover_lag_s` before the edge is ready again."""

    rates: dict[str, Rate] = field(default_factory=lambda: dict(DEFAULT_RATES))
    default_rate: Rate = Rate(20.0, 60)
    requests_per_socket: Rate = Rate(200.0, 600)

    max_rooms_per_connection: int = 128
    max_topics_per_connection: int = 33
    max_requests_per_connection: int = 64
    max_requests: int = 20_000

    command_timeout_s: float = 5.0
    admission_timeout_s: float = 3.0
    max_moved_retries: int = 2

    max_joiner_deliveries: int = 256
    max_held_deliveries_per_key: int = 1_024
    max_held_deliveries: int = 65_536
    max_keys: int = 200_000

    resume_chunk: int = 256
    resume_timeout_s: float = 10.0
    max_resumes_in_flight: int = 8

    state_recovery: Literal["automatic", "asked", "never"] = "automatic"
    """Which clients of `/chat` get connection state recovery: those known to keep offsets and those that ask for it,
    those that ask alone, or none."""
    max_recoverable_rooms: int = 32
    """Rooms of one connection up to which its client's own connection state recovery works."""
    max_recovered_messages: int = 512
    max_recovered_characters: int = 131_072
    """What one recovery may give back at once, all rooms together; beyond, the client starts anew."""
    recovery_timeout_s: float = 6.0
    """How long the answer to a client that comes back may wait for its rooms. With `admission_timeout_s` it must stay
    below the engine's connect timeout."""
    rooms_resume_timeout_s: float = 10.0
    """How long the rooms named in `auth.since` are tried for before they are answered with an error."""
    max_rooms_resuming: int = 256
    """Rooms of all connections that come back, asked at once."""

    token_warning_s: float = 60.0
    token_grace_s: float = 10.0

    drain_spread_s: float = 10.0

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, int | float) and value <= 0 and item.name != "drain_spread_s":
                raise ValueError(f"{item.name} must be greater than 0, not {value}")
        if not self.recover_at < self.shed_at <= 1 or self.recover_lag_s >= self.shed_lag_s:
            raise ValueError("recover_at and recover_lag_s must be less than shed_at, at most 1, and shed_lag_s")
        if not 1 <= self.resume_chunk <= 256:
            raise ValueError("resume_chunk must be 1 to 256, the most one Resume may carry")
        if self.max_held_deliveries < self.max_held_deliveries_per_key:
            raise ValueError("max_held_deliveries must not be less than max_held_deliveries_per_key")

    def rate_of(self, event: str) -> Rate:
        return self.rates.get(event, self.default_rate)
