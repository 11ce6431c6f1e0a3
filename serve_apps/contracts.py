"""What the rest of Flow may know of the recommender: request, answer and the port between them. Imports nothing heavy.

The edge depends on `Recommender` alone. The implementation behind it calls a Ray Serve application; a test may put any
other one there.
"""

from typing import Any, Final, Protocol

import msgspec

RECOMMENDATION_TYPES: Final = ("ai_personalized", "trending", "nearby", "social")

RECOMMENDER_APPLICATION: Final = "recommender"
"""The name of the Ray Serve application."""


class RecommendationRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Ask for events for one person.

    `limit` is 1 to 100. `coordinates` are [longitude, latitude] in degrees of where the person is, None when unknown.
    `deadline_ms` is how long the caller waits; an answer after that is thrown away.
    """

    user_id: str
    limit: int
    interests: tuple[str, ...] = ()
    coordinates: tuple[float, float] | None = None
    exclude_event_ids: tuple[str, ...] = ()
    deadline_ms: int = 300


class ScoredEvent(msgspec.Struct, frozen=True):
    """One recommended event; scores order one answer and mean nothing across answers."""

    event_id: str
    score: float


class RecommendationAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Events, best first, without events that are over, hidden or already known to the person."""

    events: tuple[ScoredEvent, ...]
    model_version: str


class Exposure(msgspec.Struct, frozen=True, kw_only=True):
    """A unit got a treatment of an experiment at `at_ms`. One a unit and version counts: the earliest."""

    experiment: str
    version: int
    variation: str
    unit: str
    at_ms: int


class Recommender(Protocol):
    """The model behind `ai_personalized`."""

    async def recommend(self, request: RecommendationRequest) -> RecommendationAnswer:
        """Raises FlowError UNAVAILABLE when no model is live or the application is down, DEADLINE_EXCEEDED when it is
        late, OVERLOADED when it refuses more work. Never blocks the loop and never waits past `deadline_ms`."""

    async def status(self) -> dict[str, Any]:
        """{"live": bool, "modelVersion": str | None}; never raises."""


class InteractionRow(msgspec.Struct, frozen=True):
    """One thing a person did with an event. `weight` is 0 to 1; `at_ms` is milliseconds since the epoch."""

    user_id: str
    event_id: str
    action: str
    weight: float
    at_ms: int


class CatalogueEvent(msgspec.Struct, frozen=True, kw_only=True):
    """What a model may know of an event. Times are milliseconds since the epoch; `end_ms` decides when it is over."""

    event_id: str
    title: str
    category: str
    tags: tuple[str, ...]
    coordinates: tuple[float, float] | None
    start_ms: int
    end_ms: int
    is_public: bool = True


class ModelPerson(msgspec.Struct, frozen=True, kw_only=True):
    """What a model may know of a person."""

    user_id: str
    interests: tuple[str, ...] = ()
    coordinates: tuple[float, float] | None = None


ACTION_WEIGHTS: Final[dict[str, float]] = {
    "dismiss": 0.0,
    "decline": 0.1,
    "view": 0.3,
    "click": 0.4,
    "join_updates": 0.5,
    "interested": 0.7,
    "share": 0.7,
    "join_chat": 0.8,
    "attend": 1.0,
    "check_in": 1.0,
}
"""How much an action says that a person likes an event. Training takes `POSITIVE_WEIGHT` and more as liking."""

POSITIVE_WEIGHT: Final = 0.5


class Catalogue(Protocol):
    """The events that may be recommended, as the recommender reads them."""

    async def live_events(self, now_ms: int) -> list[CatalogueEvent]:
        """Every event that is not over at `now_ms`, soonest end first. Raises FlowError UNAVAILABLE."""

    async def close(self) -> None: ...


class RecommendationReply(msgspec.Struct, frozen=True, kw_only=True):
    """What the Serve application sends back: an answer, or the error object of a FlowError."""

    answer: RecommendationAnswer | None = None
    error: dict[str, Any] | None = None
