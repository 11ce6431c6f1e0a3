"""What the rest of Flow may know of the recommender: request, answer and the port between them. Imports nothing heavy.

The edge depends on `Recommender` alone. The implementation behind it calls a Ray Serve application; a test may put any
other one there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Protocol

import msgspec

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

RecommendationKind = Literal["ai_personalized", "trending", "nearby", "social"]
Filler = Literal["trending", "upcoming"]

NEARBY_KM: Final = 50.0
"""How far away an event may be to count as near, where nobody says."""

RECOMMENDER_APPLICATION: Final = "recommender"
"""The name of the Ray Serve application."""


class Exposure(msgspec.Struct, frozen=True, kw_only=True):
    """A unit got a treatment of an experiment at `at_ms`. One a unit and version counts: the earliest."""

    experiment: str
    version: int
    variation: str
    unit: str
    at_ms: int


class Acted(msgspec.Struct, frozen=True):
    """Something a person did with an event lately; `weight` as in `ACTION_WEIGHTS`."""

    event_id: str
    weight: float
    at_ms: int


class CirclePlans(msgspec.Struct, frozen=True):
    """What people around a person plan for one event that is not over.

    `friends_going` is how many friends, which both agreed to be, answered that they go: what a sentence may say.
    `circle` is how many friends and people followed go or are interested, each once: a signal of what may suit.
    """

    event_id: str
    friends_going: int
    circle: int


class RecommendationRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Ask for events for one person.

    `kind` says what they are drawn from and what orders them: the person's taste, what trends, what is near, or what
    the person's circle plans. `limit` is 1 to 100. `coordinates` are [longitude, latitude] in degrees of where the
    person is, None when unknown; without a `radius_km`, near is `NEARBY_KM`. `deadline_ms` is how long the caller
    waits; an answer after that is thrown away. `history` is newest first.
    `attributes` decide an experiment's targeting, `overrides` (experiment → variation) are for testing.
    """

    user_id: str
    limit: int
    kind: RecommendationKind = "ai_personalized"
    interests: tuple[str, ...] = ()
    coordinates: tuple[float, float] | None = None
    exclude_event_ids: tuple[str, ...] = ()
    deadline_ms: int = 300
    history: tuple[Acted, ...] = ()
    circle_plans: tuple[CirclePlans, ...] = ()
    blocked_organizer_ids: tuple[str, ...] = ()
    radius_km: float | None = None
    attributes: dict[str, str] = {}
    overrides: dict[str, str] = {}
    development: bool = False


class SimilarRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Ask for events like one event; `limit` is 1 to 100."""

    event_id: str
    limit: int
    exclude_event_ids: tuple[str, ...] = ()
    deadline_ms: int = 300


class ScoredEvent(msgspec.Struct, frozen=True):
    """One recommended event; scores order one answer and mean nothing across answers. `sources` proposed it, and
    `reasons` are sentences for the person. `filler` names the source that filled up a list which what was asked for
    could not fill."""

    event_id: str
    score: float
    sources: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    filler: Filler | None = None


class RecommendationAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Events, best first, without events that are over, hidden, full or already known to the person.

    `model_version` is None where no model took part. `fallback` tells that not everything that was to decide did: no
    trained model, or a stage that failed or was late; `degraded` names those. `ranker` put them in order. `exposures`
    are to be logged when the answer is shown.
    """

    events: tuple[ScoredEvent, ...]
    model_version: str | None
    fallback: bool = False
    ranker: str = ""
    degraded: tuple[str, ...] = ()
    exposures: tuple[Exposure, ...] = ()


class MatchPerson(msgspec.Struct, frozen=True, kw_only=True):
    """What a matcher may know of a person: only what the two people let each other see. None is "not told".

    `activity` is 0 (never seen) to 10. `mutual_friends` is how many friends this one shares with the person asked for.
    """

    user_id: str
    interests: tuple[str, ...] = ()
    traits: tuple[str, ...] = ()
    coordinates: tuple[float, float] | None = None
    activity: float | None = None
    mutual_friends: int | None = None


class MatchRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Put `others`, at most `MOST_CANDIDATES`, in order for one person. `limit` is 1 to 100."""

    person: MatchPerson
    others: tuple[MatchPerson, ...]
    limit: int
    deadline_ms: int = 300


MOST_CANDIDATES: Final = 500


class MatchPart(msgspec.Struct, frozen=True):
    """One part of a match. `similarity` is 0 to 1, None where either side does not tell; `weight` is its share."""

    name: str
    weight: float
    similarity: float | None


class Match(msgspec.Struct, frozen=True, kw_only=True):
    """`score` is 0 to 1; a learned matcher may give no parts."""

    user_id: str
    score: float
    parts: tuple[MatchPart, ...] = ()


class MatchAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Best first. `fallback` tells that the matcher that was asked for failed and the formula answered for it."""

    matches: tuple[Match, ...]
    matcher: str
    fallback: bool = False


class Matcher(Protocol):
    """Says how well others go with a person. Symmetric matchers give the same score when the two change places."""

    @property
    def name(self) -> str: ...

    def match(self, person: MatchPerson, others: Sequence[MatchPerson]) -> Sequence[Match]:
        """One match for each of `others`, in their order, scores finite and 0 to 1. May block; may be called from one
        thread at a time."""


class Recommender(Protocol):
    """The pipeline behind every kind of recommendation."""

    async def recommend(self, request: RecommendationRequest) -> RecommendationAnswer:
        """Raises FlowError UNAVAILABLE when no model is live or the application is down, DEADLINE_EXCEEDED when it is
        late, OVERLOADED when it refuses more work. Never blocks the loop and never waits past `deadline_ms`."""

    async def similar(self, request: SimilarRequest) -> RecommendationAnswer:
        """Raises as `recommend` does, and EVENT_NOT_FOUND for an event that the catalogue does not hold."""

    async def match(self, request: MatchRequest) -> MatchAnswer:
        """Raises as `recommend` does."""

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
    organizer_id: str = ""
    price: float = 0.0
    capacity: int | None = None
    published_ms: int = 0


class LiveEvents(msgspec.Struct, frozen=True):
    """Events that are not over, soonest end first, and how many more there are than were asked for."""

    events: tuple[CatalogueEvent, ...]
    left_out: int = 0


class CatalogueChanges(msgspec.Struct, frozen=True, kw_only=True):
    """Events that are new or changed since a cursor; an event that was taken back comes with `is_public` false."""

    events: tuple[CatalogueEvent, ...]
    cursor_ms: int


class Signals(msgspec.Struct, frozen=True, kw_only=True):
    """What people do, as far as ranking uses it: what trends, best first, and how many go to which event."""

    trending: tuple[ScoredEvent, ...] = ()
    going: dict[str, int] = {}


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

    async def live_events(self, now_ms: int, most: int) -> LiveEvents:
        """The events that are not over at `now_ms`; where there are more than `most`, those that end soonest. Raises
        FlowError UNAVAILABLE."""

    async def changes(self, since_ms: int) -> CatalogueChanges | None:
        """What changed since a cursor, repeating a little rather than missing any; None when that cannot be told and
        `live_events` must be read again. Raises FlowError UNAVAILABLE."""

    async def signals(self, now_ms: int) -> Signals:
        """Raises FlowError UNAVAILABLE."""

    async def close(self) -> None: ...


class RecommendationReply(msgspec.Struct, frozen=True, kw_only=True):
    """What the Serve application sends back: an answer, or the error object of a FlowError."""

    answer: RecommendationAnswer | None = None
    matches: MatchAnswer | None = None
    error: dict[str, Any] | None = None


# What an ML engineer may bring. The arrays are NumPy's; nothing here imports it, so that an edge need not.


@dataclass(frozen=True, slots=True)
class CatalogueView:
    """The events that a retriever may choose from. Row i of every column is `events[i]`.

    `is_open` (bool) says which may be recommended at all now. `vectors` (float32) are the live model's, None without
    one. Nothing of it may be written to.
    """

    events: Sequence[CatalogueEvent]
    is_open: "npt.NDArray[np.bool_]"
    vectors: "npt.NDArray[np.float32] | None"
    now_ms: int


class Retrieved(NamedTuple):
    """Rows of the view (int) and a score each (float), best first; no row twice."""

    rows: "npt.NDArray[np.int64]"
    scores: "npt.NDArray[np.float32]"


class Retriever(Protocol):
    """Proposes events to one person: at most `limit`, fewer or none where there are no more."""

    @property
    def name(self) -> str: ...

    def retrieve(self, request: RecommendationRequest, catalogue: CatalogueView, limit: int) -> Retrieved: ...


@dataclass(frozen=True, slots=True)
class RankingBatch:
    """Pairs of a person and an event, one a row, of several people at once.

    `features` is float32 (rows x len(names)), finite; `pipeline.ranking_features` says what each column is.
    Row i is the event `events[i]` for `requests[person[i]]`; `person` is int and ascending.
    """

    features: "npt.NDArray[np.float32]"
    names: tuple[str, ...]
    person: "npt.NDArray[np.int64]"
    requests: Sequence[RecommendationRequest]
    events: Sequence[CatalogueEvent]


class Ranker(Protocol):
    """Scores pairs: one finite number a row, more being better. The same batch gives the same scores."""

    @property
    def name(self) -> str: ...

    def rank(self, batch: RankingBatch) -> "npt.NDArray[np.float32]": ...


class ReRanker(Protocol):
    """Puts one person's ranked events into the order in which they are shown."""

    @property
    def name(self) -> str: ...

    def rerank(
        self,
        request: RecommendationRequest,
        events: Sequence[CatalogueEvent],
        scores: "npt.NDArray[np.float32]",
        limit: int,
    ) -> Sequence[int]:
        """Places in `events`, at most `limit`, none twice."""
