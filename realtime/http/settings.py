"""The bounds of the HTTP interface, in one place, with their units in their names.

Made from the settings file by whoever composes the edge. It promises that a combination that cannot work is refused
when it is made.
"""

from dataclasses import dataclass
from typing import Final

from realtime.limits import Rate

REQUESTS_PER_USER: Final = Rate(50.0, 200)
REQUESTS_PER_ADDRESS: Final = Rate(200.0, 1_000)
SIGN_INS_PER_ADDRESS: Final = Rate(5.0, 200)
SIGN_INS_PER_USERNAME: Final = Rate(0.2, 10)
REGISTRATIONS_PER_ADDRESS: Final = Rate(5.0, 200)


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """`cors_origins` are allowed whole (scheme://host[:port]); none by default. `trusted_proxies` is how many proxies
    of one's own stand before the server: that many entries at the end of X-Forwarded-For are believed.
    `recommendation_list_wait_ms` is how long storage's list of what trends, or is near, is waited for while the
    recommender is away. Rates are per edge."""

    cors_origins: tuple[str, ...] = ()
    trusted_proxies: int = 0
    deadline_s: float = 10.0
    command_timeout_s: float = 5.0
    recommendation_deadline_ms: int = 300
    recommendation_list_wait_ms: int = 1_000
    requests_per_user: Rate = REQUESTS_PER_USER
    requests_per_address: Rate = REQUESTS_PER_ADDRESS
    sign_ins_per_address: Rate = SIGN_INS_PER_ADDRESS
    sign_ins_per_username: Rate = SIGN_INS_PER_USERNAME
    registrations_per_address: Rate = REGISTRATIONS_PER_ADDRESS

    def __post_init__(self) -> None:
        if self.deadline_s <= 0 or self.command_timeout_s <= 0 or self.recommendation_deadline_ms <= 0:
            raise ValueError("deadlines must be greater than 0")
        if self.recommendation_list_wait_ms <= 0:
            raise ValueError("recommendation_list_wait_ms must be greater than 0")
        if self.command_timeout_s > self.deadline_s:
            raise ValueError("command_timeout_s must not be greater than deadline_s")
        if self.recommendation_deadline_ms / 1000 > self.deadline_s:
            raise ValueError("recommendation_deadline_ms must not be longer than deadline_s")
        if not 0 <= self.trusted_proxies <= 8:
            raise ValueError("trusted_proxies must be 0 to 8")
