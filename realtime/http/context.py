"""What the HTTP interface needs from the rest of the edge: one dataclass, and the ports inside it.

The edge makes it and passes it to `api.mount`. Nothing here has behaviour; handlers reach everything through it and
nothing else, so a test composes the whole interface from real storage and chosen doubles.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from cluster.kernel.clock import Clock
from realtime.auth import Identity, TokenService
from realtime.http.settings import ApiSettings
from realtime.passwords import PasswordService
from realtime.router import Router
from serve_apps.contracts import Recommender
from storage.open import Storage

Caller = Identity
"""The person who asks, by a verified token."""


class HttpMetrics(Protocol):
    """The part of the edge's metrics that HTTP feeds and shows."""

    def observe_http(self, method: str, route: str, status: int, seconds: float) -> None:
        """One request answered; `route` is a template, so there are only as many as there are routes."""

    def count_recommendations(self, kind: str, count: int) -> None:
        """`count` events were recommended under the type `kind`."""

    def render(self) -> bytes:
        """Everything, as Prometheus reads it."""


class Readiness(NamedTuple):
    """What the edge knows of itself, without I/O."""

    hosts_linked: int
    hosts_expected: int
    draining: bool
    overloaded: tuple[str, ...] = ()
    """What there is too much of: see `shedding.LoadShedding.reasons`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiContext:
    """Everything the handlers may use. `version` is the build's; `development` is on one's own machine."""

    storage: Storage
    tokens: TokenService
    passwords: PasswordService
    router: Router
    recommender: Recommender | None
    metrics: HttpMetrics
    clock: Clock
    readiness: Callable[[], Readiness]
    settings: ApiSettings
    version: str
    development: bool = False
