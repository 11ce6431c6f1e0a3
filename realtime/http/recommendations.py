"""Recommendations of every kind: from the recommender's pipeline, or from storage's lists; never an empty-handed error.

When the recommender is missing, late or down, storage's list of the kind answers, filled up by what trends and what is
near, and is marked `fallback`. Whatever a source says, events that are over, hidden, the person's own or of somebody
whom a block keeps away are left out here.
"""

import logging
from collections.abc import Sequence
from typing import Annotated, Final, Literal, NamedTuple, cast

import msgspec
from msgspec import UNSET, Meta, UnsetType

from cluster.kernel.errors import INVALID_REQUEST, FlowError
from realtime.http.context import ApiContext
from realtime.http.event_access import is_visible
from realtime.http.event_document import EventDocument
from realtime.http.event_fragments import EventFragment, EventFragments, joined
from realtime.http.exposure_log import ExposureLog
from realtime.http.fields import DEFAULT_PAGE, Answer, Latitude, Longitude, Nothing, PageLimit, Strict
from realtime.http.operations import AnyOperation, Call, Operation
from realtime.http.recommendation_cache import RecommendationCache
from realtime.http.recommendation_merge import Candidate, Merged, merge
from realtime.http.recommendation_sources import Place, Sources
from serve_apps.contracts import (
    NEARBY_KM,
    POSITIVE_WEIGHT,
    RecommendationAnswer,
    RecommendationKind,
    RecommendationRequest,
)
from storage.user_features import PersonFeatures

_log = logging.getLogger("flow.recommendations")

KEPT: Final = 60
"""How many one kept answer holds; whoever asks for more than `KEPT - _SPARE` is answered anew."""
_NEWCOMER_MS: Final = 14 * 24 * 3_600_000
_MUCH_LIKED: Final = 10
_SPARE: Final = 20
"""How many more are looked at than asked for, because some may be over or one's own."""

Reason = Literal["ai_personalized", "trending", "nearby", "social", "upcoming"]
Override = Annotated[
    str,
    Meta(
        max_length=129,
        pattern="^[a-z][a-z0-9_-]{0,63}:[a-z][a-z0-9_-]{0,63}(?!\n)$",
        description="experiment:variation, for testing: in development, or for the experiment's testers.",
    ),
]


class RecommendationQuery(Strict, frozen=True):
    """`lng` and `lat` say where you are; without them the place in your profile counts. `radiusKm` leaves out what is
    further away; without it, nearby is 50 km."""

    type: RecommendationKind = "ai_personalized"
    limit: PageLimit = DEFAULT_PAGE
    lng: Longitude | None = None
    lat: Latitude | None = None
    radius_km: Annotated[float, Meta(gt=0, le=500)] | None = None
    experiment: Override | None = None


class RecommendedEvent(EventDocument, frozen=True, kw_only=True):
    """An event and the source that recommends it; `because` says why in words. Scores order one source and mean nothing
    across sources."""

    reason: Reason
    because: tuple[str, ...] = ()
    score: float | UnsetType = UNSET


class Recommendations(Answer, frozen=True):
    """`fallback` tells that the source that was asked for could not fill the list by itself, or not as it should.
    `experiments` are those whose treatment this answer got."""

    items: tuple[RecommendedEvent, ...]
    type: RecommendationKind
    fallback: bool
    model_version: str | None
    experiments: dict[str, str] = msgspec.field(default_factory=dict)
    next: None = None


class Why(Answer, frozen=True):
    """What a recommendation adds to its event; the fields of `RecommendedEvent`."""

    reason: Reason
    because: tuple[str, ...] = ()
    score: float | UnsetType = UNSET


class Encoded(Answer, frozen=True):
    """`Recommendations`, joined from encoded events."""

    items: tuple[msgspec.Raw, ...]
    type: RecommendationKind
    fallback: bool
    model_version: str | None
    experiments: dict[str, str]
    next: None = None


class Gathered(NamedTuple):
    """`is_marked` tells that the answer is a fallback whatever is in it. `answer` is the recommender's, if it came."""

    merged: Merged
    is_marked: bool
    answer: RecommendationAnswer | None


class Recommending:
    def __init__(self, context: ApiContext) -> None:
        self._context = context
        self._sources = Sources(context)
        self._cache = RecommendationCache(context)
        self._fragments = EventFragments(context)
        self._exposures = ExposureLog(context.storage.experiments)

    async def recommend(self, call: Call[Nothing, RecommendationQuery]) -> Encoded:
        """In the form of `Recommendations`."""
        query, user_id = call.query, call.caller.user_id
        if (query.lng is None) != (query.lat is None):
            raise FlowError(INVALID_REQUEST, "lng and lat come together.", fields=("lng", "lat"))
        person = await self._context.storage.user_features.of(user_id)
        gathered = await self._gather(query, user_id, person)
        items = await self._shown(gathered.merged.items, user_id, person, query.limit)
        self._context.metrics.count_recommendations(query.type, len(items))
        answer = gathered.answer
        is_used = any(candidate.reason == query.type for candidate, _ in items)
        exposures = answer.exposures if answer is not None and is_used else ()
        await self._exposures.used(exposures)
        return Encoded(
            items=tuple(joined(fragment, _why(candidate)) for candidate, fragment in items),
            type=query.type,
            fallback=gathered.is_marked or any(candidate.reason != query.type for candidate, _ in items),
            model_version=None if answer is None else answer.model_version,
            experiments={one.experiment: one.variation for one in exposures},
        )

    def statistics(self) -> dict[str, float]:
        return {**self._cache.statistics(), **self._exposures.statistics(), **self._sources.statistics()}

    async def _gather(self, query: RecommendationQuery, user_id: str, person: PersonFeatures) -> Gathered:
        place = _place(query, person)
        answer = await self._asked(query, user_id, person, place)
        if answer is None:
            preferred = await self._listed(query, user_id, place)
        else:
            preferred = _candidates(answer, query.type)
        merged = merge(preferred, (), excluded=person.known, limit=query.limit + _SPARE)
        if answer is None and query.type != "social" and len(merged.items) < query.limit:
            merged = await self._fill(merged, query, place, person.known)
        is_nowhere = query.type == "nearby" and place is None
        return Gathered(merged, answer is None or answer.fallback or is_nowhere, answer)

    async def _shown(
        self, candidates: Sequence[Candidate], user_id: str, person: PersonFeatures, limit: int
    ) -> list[tuple[Candidate, EventFragment]]:
        """With the events, without those that must not be recommended, whatever the sources said."""
        shown: list[tuple[Candidate, EventFragment]] = []
        now_ms, unwelcome = self._context.clock.now_ms(), {user_id, *person.blocked}
        rest = list(candidates)
        while rest and len(shown) < limit:
            # Most of what a source says may be shown, so no more are read than are needed if all of them may.
            part, rest = rest[: limit - len(shown)], rest[limit - len(shown) :]
            known = await self._fragments.of([one.event_id for one in part])
            for candidate in part:
                event = known.get(candidate.event_id)
                if event is None or event.organizer_id in unwelcome or event.end_ms < now_ms:
                    continue
                if await is_visible(self._context.storage, event.stored, user_id):
                    shown.append((candidate, event))
        return shown

    async def _asked(
        self, query: RecommendationQuery, user_id: str, person: PersonFeatures, place: Place | None
    ) -> RecommendationAnswer | None:
        """None when the recommender is away. Personal answers are kept; what was asked for with a place, a radius or an
        experiment of its own, or with more than is kept, is answered anew."""
        is_plain = (query.type, query.lng, query.radius_km, query.experiment) == ("ai_personalized", None, None, None)
        is_kept = is_plain and query.limit + _SPARE <= KEPT
        request = self._request(query, user_id, person, place, KEPT if is_kept else min(100, query.limit + _SPARE))
        try:
            if is_kept:
                return await self._cache.get_or_ask(user_id, person, lambda: self._sources.ask_model(request))
            return await self._sources.ask_model(request)
        except FlowError as error:
            _log.debug("the recommender gave nothing: %s", error.kind.code)
            return None

    async def _listed(self, query: RecommendationQuery, user_id: str, place: Place | None) -> Sequence[Candidate]:
        """Storage's own list of the kind; there is none of what is personal."""
        if query.type == "trending":
            return await self._sources.trending()
        if query.type == "social":
            return await self._sources.social(user_id)
        if query.type == "nearby" and place is not None:
            return await self._sources.nearby(place, query.radius_km or NEARBY_KM)
        return ()

    async def _fill(
        self, merged: Merged, query: RecommendationQuery, place: Place | None, known: Sequence[str]
    ) -> Merged:
        """From what trends and what is near in turn; only when that is not enough, from what starts soonest."""
        wanted = query.limit + _SPARE
        fillers = [await self._sources.trending()]
        if place is not None:
            exactly = query.type == "nearby" or query.radius_km is not None
            near = self._sources.nearby if exactly else self._sources.filling_nearby
            fillers.append(await near(place, query.radius_km or NEARBY_KM))
        filled = merge(merged.items, fillers, excluded=known, limit=wanted)
        if len(filled.items) < query.limit:
            filled = merge(filled.items, [await self._sources.upcoming()], excluded=known, limit=wanted)
        return filled

    def _request(
        self, query: RecommendationQuery, user_id: str, person: PersonFeatures, place: Place | None, limit: int
    ) -> RecommendationRequest:
        return RecommendationRequest(
            user_id=user_id,
            limit=limit,
            kind=query.type,
            interests=person.interests,
            coordinates=place,
            exclude_event_ids=person.known,
            deadline_ms=self._sources.deadline_ms,
            history=person.history,
            circle_plans=person.circle_plans,
            blocked_organizer_ids=person.blocked,
            radius_km=query.radius_km,
            attributes=attributes(query.type, person, query.lng is not None, self._context.clock.now_ms()),
            overrides={} if query.experiment is None else dict([query.experiment.split(":")]),
            development=self._context.development,
        )


def attributes(kind: str, person: PersonFeatures, is_placed: bool, now_ms: int) -> dict[str, str]:
    """What an experiment may be targeted by; see docs/experiments.md. What is not known is not there."""
    likes = sum(acted.weight >= POSITIVE_WEIGHT for acted in person.history)
    found = {
        "kind": kind,
        "history": "none" if likes == 0 else "some" if likes < _MUCH_LIKED else "much",
        "place": "request" if is_placed else "unknown" if person.coordinates is None else "profile",
        "friends_plans": "yes" if person.circle_plans else "no",
    }
    if person.joined_ms is not None:
        found["newcomer"] = "yes" if now_ms - person.joined_ms < _NEWCOMER_MS else "no"
    if person.platform is not None:
        found["platform"] = person.platform
    return found


def _place(query: RecommendationQuery, person: PersonFeatures) -> Place | None:
    if query.lng is not None and query.lat is not None:
        return query.lng, query.lat
    return person.coordinates


def _candidates(answer: RecommendationAnswer, kind: RecommendationKind) -> tuple[Candidate, ...]:
    """What only fills up has no score of the kind's."""
    return tuple(
        Candidate(one.event_id, kind, one.score, one.reasons)
        if one.filler is None
        else Candidate(one.event_id, one.filler, None, one.reasons)
        for one in answer.events
    )


def _why(candidate: Candidate) -> Why:
    score = UNSET if candidate.score is None else candidate.score
    return Why(reason=cast("Reason", candidate.reason), because=candidate.because, score=score)


def operations(recommending: Recommending) -> tuple[AnyOperation, ...]:
    return (
        Operation(
            method="GET",
            path="/v1/recommendations",
            summary="Events for you: by your taste, by what trends, by what is near, or by where friends go.",
            tag="Recommendations",
            handle=recommending.recommend,
            body=Nothing,
            query=RecommendationQuery,
            reply=Recommendations,
        ),
    )
