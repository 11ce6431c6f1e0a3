"""Recommendations: from the model, or by what trends, what is near and where friends go; never an empty-handed error.

When the model is missing, late, down or has too few, the list is filled from what trends and what is near, and marked
`fallback`. Whatever a source says, events that are over, known to the person, or not for them are left out here.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

from cluster.kernel.errors import INVALID_REQUEST, FlowError
from realtime.http.context import ApiContext
from realtime.http.event_access import Stored, is_visible, organizer_of
from realtime.http.event_document import EventDocument
from realtime.http.fields import DEFAULT_PAGE, Answer, Latitude, Longitude, Nothing, PageLimit, Strict
from realtime.http.operations import AnyOperation, Call, Operation
from realtime.http.recommendation_merge import Candidate, Merged, merge
from realtime.http.recommendation_sources import Place, Sources
from serve_apps.contracts import RecommendationRequest
from storage.dates import to_ms
from storage.event_documents import to_wire
from storage.records import User

MAX_KNOWN = 500
_SPARE = 20
"""How many more are looked at than asked for, because some may be over or one's own."""

Kind = Literal["ai_personalized", "trending", "nearby", "social"]
Reason = Literal["ai_personalized", "trending", "nearby", "social", "upcoming"]


class RecommendationQuery(Strict, frozen=True):
    """`lng` and `lat` say where you are; without them the place in your profile counts."""

    type: Kind = "ai_personalized"
    limit: PageLimit = DEFAULT_PAGE
    lng: Longitude | None = None
    lat: Latitude | None = None


class RecommendedEvent(EventDocument, frozen=True, kw_only=True):
    """An event and the source that recommends it. Scores order one source and mean nothing across sources."""

    reason: Reason
    score: float | UnsetType = UNSET


class Recommendations(Answer, frozen=True):
    """`fallback` tells that the source that was asked for could not fill the list by itself."""

    items: tuple[RecommendedEvent, ...]
    type: Kind
    fallback: bool
    model_version: str | None
    next: None = None


class Gathered(NamedTuple):
    merged: Merged
    is_missing: bool
    model_version: str | None


class Recommending:
    def __init__(self, context: ApiContext) -> None:
        self._sources = Sources(context)

    async def recommend(self, call: Call[Nothing, RecommendationQuery]) -> Recommendations:
        context, query = call.context, call.query
        if (query.lng is None) != (query.lat is None):
            raise FlowError(INVALID_REQUEST, "lng and lat come together.", fields=("lng", "lat"))
        user = await context.storage.users.by_id(call.caller.user_id)
        known = await context.storage.recommendations.known_to(call.caller.user_id, MAX_KNOWN)
        gathered = await self._gather(query, call.caller.user_id, user, known)
        items = await _shown(context, gathered.merged.items, call.caller.user_id, query.limit)
        context.metrics.count_recommendations(query.type, len(items))
        return Recommendations(
            items=items,
            type=query.type,
            fallback=gathered.is_missing or any(item.reason != query.type for item in items),
            model_version=gathered.model_version,
        )

    async def _gather(
        self, query: RecommendationQuery, user_id: str, user: User | None, known: Sequence[str]
    ) -> Gathered:
        place = _place(query, user)
        wanted = query.limit + _SPARE
        preferred: Sequence[Candidate] = ()
        version, is_missing = None, False
        if query.type == "ai_personalized":
            picks = await self._sources.model(self._request(query, user_id, user, place, known))
            preferred, version, is_missing = picks.candidates, picks.version, picks.version is None
        elif query.type == "trending":
            preferred = await self._sources.trending()
        elif query.type == "social":
            preferred = await self._sources.social(user_id)
        elif place is not None:
            preferred = await self._sources.nearby(place)
        else:
            is_missing = True
        merged = merge(preferred, (), excluded=known, limit=wanted)
        if query.type != "social" and len(merged.items) < query.limit:
            merged = await self._fill(merged, query, place, known)
        return Gathered(merged, is_missing, version)

    async def _fill(
        self, merged: Merged, query: RecommendationQuery, place: Place | None, known: Sequence[str]
    ) -> Merged:
        """From what trends and what is near in turn; only when that is not enough, from what starts soonest."""
        wanted = query.limit + _SPARE
        fillers = [await self._sources.trending()]
        if place is not None:
            fillers.append(await self._sources.nearby(place))
        filled = merge(merged.items, fillers, excluded=known, limit=wanted)
        if len(filled.items) < query.limit:
            filled = merge(filled.items, [await self._sources.upcoming()], excluded=known, limit=wanted)
        return filled

    def _request(
        self,
        query: RecommendationQuery,
        user_id: str,
        user: User | None,
        place: Place | None,
        known: Sequence[str],
    ) -> RecommendationRequest:
        return RecommendationRequest(
            user_id=user_id,
            limit=min(100, query.limit + _SPARE),
            interests=() if user is None else user.interests,
            coordinates=place,
            exclude_event_ids=tuple(known),
            deadline_ms=self._sources.deadline_ms,
        )


def _place(query: RecommendationQuery, user: User | None) -> Place | None:
    if query.lng is not None and query.lat is not None:
        return query.lng, query.lat
    return None if user is None else user.coordinates


async def _shown(
    context: ApiContext, candidates: Sequence[Candidate], user_id: str, limit: int
) -> tuple[RecommendedEvent, ...]:
    """The events themselves, without those that must not be recommended, whatever the sources said."""
    stored = {event["_id"]: event for event in await context.storage.events.by_ids([c.event_id for c in candidates])}
    now_ms = context.clock.now_ms()
    shown: list[RecommendedEvent] = []
    for candidate in candidates:
        event = stored.get(candidate.event_id)
        if event is not None and await _may_recommend(context, event, user_id, now_ms):
            shown.append(_recommended(event, candidate))
        if len(shown) == limit:
            break
    return tuple(shown)


async def _may_recommend(context: ApiContext, event: Stored, user_id: str, now_ms: int) -> bool:
    if to_ms(event["datetime"]["end"]) < now_ms or organizer_of(event) == user_id:
        return False
    return await is_visible(context.storage, event, user_id)


def _recommended(event: Stored, candidate: Candidate) -> RecommendedEvent:
    wire: dict[str, Any] = {**to_wire(event), "reason": candidate.reason}
    if candidate.score is not None:
        wire["score"] = candidate.score
    return msgspec.convert(wire, RecommendedEvent)


def operations(context: ApiContext) -> tuple[AnyOperation, ...]:
    return (
        Operation(
            method="GET",
            path="/v1/recommendations",
            summary="Events for you: by the model, by what trends, by what is near, or by where friends go.",
            tag="Recommendations",
            handle=Recommending(context).recommend,
            body=Nothing,
            query=RecommendationQuery,
            reply=Recommendations,
        ),
    )
