"""Events like one event: by the model, or of the same category where it is away, marked `fallback`."""

from typing import Final

import msgspec

from cluster.kernel.errors import EVENT_NOT_FOUND, FORBIDDEN, FlowError
from realtime.http.context import ApiContext
from realtime.http.event_access import Stored, visible_event
from realtime.http.event_document import EventDocument
from realtime.http.fields import DEFAULT_PAGE, Answer, Nothing, PageLimit, Strict
from realtime.http.operations import AnyOperation, Call, Operation
from serve_apps.contracts import RecommendationAnswer, SimilarRequest
from storage.dates import to_ms
from storage.event_documents import to_wire
from storage.event_filters import EventFilters

_SPARE: Final = 10


class SimilarQuery(Strict, frozen=True):
    limit: PageLimit = DEFAULT_PAGE


class SimilarEvent(EventDocument, frozen=True, kw_only=True):
    """An event and why it is thought alike, in words."""

    because: tuple[str, ...] = ()


class SimilarEvents(Answer, frozen=True):
    """Most alike first. Without a model they are the next ones of the category, and `fallback` says so."""

    items: tuple[SimilarEvent, ...]
    fallback: bool
    model_version: str | None
    next: None = None


async def similar(call: Call[Nothing, SimilarQuery]) -> SimilarEvents:
    context, user_id, limit = call.context, call.caller.user_id, call.query.limit
    event = await visible_event(context.storage, call.path["id"], user_id)
    person = await context.storage.user_features.of(user_id)
    request = SimilarRequest(
        event_id=event["_id"],
        limit=min(100, limit + _SPARE),
        exclude_event_ids=person.known,
        deadline_ms=context.settings.recommendation_deadline_ms,
    )
    answer = await _asked(context, request)
    if answer is not None and answer.events:
        because = {one.event_id: one.reasons for one in answer.events}
        found = await context.storage.events.by_ids(list(because))
    else:
        because = {}
        filters = EventFilters(category=event["category"], not_over_at_ms=context.clock.now_ms())
        found = (await context.storage.events.upcoming(filters, limit + _SPARE)).items
    now_ms = context.clock.now_ms()
    shown = [one for one in found if one["_id"] not in (event["_id"], *person.known) and _may_show(one, now_ms)]
    return SimilarEvents(
        items=tuple(_document(one, because.get(one["_id"], ())) for one in shown[:limit]),
        fallback=answer is None or answer.fallback or not because,
        model_version=None if answer is None else answer.model_version,
    )


async def _asked(context: ApiContext, request: SimilarRequest) -> RecommendationAnswer | None:
    """None when the model is away, or does not know the event yet."""
    if context.recommender is None:
        return None
    try:
        return await context.recommender.similar(request)
    except FlowError as error:
        if error.kind.retryable or error.kind is EVENT_NOT_FOUND:
            return None
        raise


def _may_show(event: Stored, now_ms: int) -> bool:
    return event["visibility"] == "public" and to_ms(event["datetime"]["end"]) >= now_ms


def _document(event: Stored, because: tuple[str, ...]) -> SimilarEvent:
    return msgspec.convert({**to_wire(event), "because": because}, SimilarEvent)


OPERATIONS: tuple[AnyOperation, ...] = (
    Operation(
        method="GET",
        path="/v1/events/{id}/similar",
        summary="Events like this one.",
        tag="Recommendations",
        handle=similar,
        body=Nothing,
        query=SimilarQuery,
        reply=SimilarEvents,
        errors=(EVENT_NOT_FOUND, FORBIDDEN),
    ),
)
