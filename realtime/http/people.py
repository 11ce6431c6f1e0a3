"""People to meet: at an event or near a place, by how well they go with the one who asks.

Who blocks or is blocked is not there. What somebody does not show a stranger takes no part in the score either, so a
score gives nothing away. Without a matcher the candidates come in the order of the index, marked `fallback`.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Final

from msgspec import Meta

from cluster.kernel.errors import EVENT_NOT_FOUND, FORBIDDEN, INVALID_REQUEST, USER_NOT_FOUND, FlowError
from realtime.http.context import ApiContext
from realtime.http.event_access import visible_event
from realtime.http.event_search import Place, coordinates
from realtime.http.fields import DEFAULT_PAGE, Answer, Id, Nothing, PageLimit, Strict
from realtime.http.operations import AnyOperation, Call, Operation
from realtime.http.user_shapes import PublicUser, privacy_of, public_user
from serve_apps.contracts import Match, MatchAnswer, MatchPerson, MatchRequest
from storage.records import User

CANDIDATES: Final = 300
DEFAULT_RADIUS_KM: Final = 50.0
_BUSY: Final = 2.0
"""Activity grows by this for each doubling of what somebody did within 30 days: thirty actions are a ten."""


class PeopleQuery(Strict, frozen=True):
    """Either `eventId` or `near` (`lng,lat`); with neither, the place in your profile counts."""

    event_id: Id | None = None
    near: Place | None = None
    radius_km: Annotated[float, Meta(gt=0, le=100)] = DEFAULT_RADIUS_KM
    limit: PageLimit = DEFAULT_PAGE


class SharedPart(Answer, frozen=True):
    """One part of a score: how alike the two are in it, 0 to 1, or null where one of them does not tell."""

    name: str
    weight: float
    similarity: float | None


class RecommendedPerson(PublicUser, frozen=True, kw_only=True):
    """Somebody to meet. `because` says why, in words."""

    score: float | None
    parts: tuple[SharedPart, ...]
    because: tuple[str, ...]


class PeopleToMeet(Answer, frozen=True):
    """`fallback` tells that the matcher could not be asked, or was replaced by the formula."""

    items: tuple[RecommendedPerson, ...]
    matcher: str | None
    fallback: bool
    next: None = None


async def recommend(call: Call[Nothing, PeopleQuery]) -> PeopleToMeet:
    storage, own_id = call.context.storage, call.caller.user_id
    own = await storage.users.by_id(own_id)
    if own is None:
        raise FlowError(USER_NOT_FOUND)
    ids = await _candidates(call, own)
    hidden = await storage.blocks.between(own_id, ids)
    people = await storage.users.by_ids([user_id for user_id in ids if user_id not in hidden])
    friends = await storage.people_to_meet.friends(own_id)
    known = set(friends)
    others = [person for person in people if person.id not in known]
    mutual = await storage.people_to_meet.mutual_friends(friends, [person.id for person in others])
    activity = await storage.people_to_meet.actions([own_id, *(p.id for p in others)], call.context.clock.now_ms())
    request = MatchRequest(
        person=_own(own, activity),
        others=tuple(_seen(person, activity, mutual.get(person.id, 0)) for person in others),
        limit=call.query.limit,
        deadline_ms=call.context.settings.recommendation_deadline_ms,
    )
    answer = await _matched(call.context, request)
    if answer is None:
        items = tuple(_shown(person, None, request) for person in others[: call.query.limit])
        return PeopleToMeet(items=items, matcher=None, fallback=True)
    by_id = {person.id: person for person in others}
    items = tuple(_shown(by_id[match.user_id], match, request) for match in answer.matches if match.user_id in by_id)
    return PeopleToMeet(items=items, matcher=answer.matcher, fallback=answer.fallback)


async def _candidates(call: Call[Nothing, PeopleQuery], own: User) -> list[str]:
    storage, query = call.context.storage, call.query
    if query.event_id is not None and query.near is not None:
        raise FlowError(INVALID_REQUEST, "Give eventId or near, not both.", fields=("eventId", "near"))
    if query.event_id is not None:
        event = await visible_event(storage, query.event_id, own.id)
        return await storage.people_to_meet.at(own.id, event["_id"], CANDIDATES)
    place = own.coordinates if query.near is None else coordinates(query.near)
    if place is None:
        return []
    return await storage.people_to_meet.near(own.id, place, query.radius_km * 1000, own.interests, CANDIDATES)


async def _matched(context: ApiContext, request: MatchRequest) -> MatchAnswer | None:
    """None when the matcher is away, late or at its limit."""
    if context.recommender is None:
        return None
    try:
        return await context.recommender.match(request)
    except FlowError as error:
        if not error.kind.retryable:
            raise
        return None


def _own(user: User, activity: Mapping[str, int]) -> MatchPerson:
    return MatchPerson(
        user_id=user.id,
        interests=user.interests,
        traits=user.traits,
        coordinates=user.coordinates,
        activity=_level(activity.get(user.id, 0)),
    )


def _seen(user: User, activity: Mapping[str, int], mutual_friends: int) -> MatchPerson:
    """Only what a stranger may see."""
    shows = privacy_of(user)
    return MatchPerson(
        user_id=user.id,
        interests=user.interests if shows["showInterests"] else (),
        traits=user.traits if shows["showInterests"] else (),
        coordinates=user.coordinates if shows["showLocation"] else None,
        activity=_level(activity.get(user.id, 0)),
        mutual_friends=mutual_friends,
    )


def _level(actions: int) -> float:
    return min(10.0, _BUSY * math.log2(1 + actions))


def _shown(user: User, match: Match | None, request: MatchRequest) -> RecommendedPerson:
    other = next(one for one in request.others if one.user_id == user.id)
    public = public_user(user, shows_all=False, is_friend=False)
    parts = () if match is None else match.parts
    return RecommendedPerson(
        id=public.id,
        username=public.username,
        profile=public.profile,
        score=None if match is None else match.score,
        parts=tuple(SharedPart(name=one.name, weight=one.weight, similarity=one.similarity) for one in parts),
        because=tuple(_because(request.person, other)),
    )


def _because(person: MatchPerson, other: MatchPerson) -> Sequence[str]:
    words = []
    shared = [name for name in person.interests if name in other.interests]
    if shared:
        words.append(f"You both like {_listed(shared[:3])}.")
    if other.mutual_friends:
        words.append(
            "You have a friend in common."
            if other.mutual_friends == 1
            else f"You have {other.mutual_friends} friends in common."
        )
    traits = [name for name in person.traits if name in other.traits]
    if traits:
        words.append(f"You are both {_listed(traits[:3])}.")
    return words


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


OPERATIONS: tuple[AnyOperation, ...] = (
    Operation(
        method="GET",
        path="/v1/people/recommended",
        summary="People to meet at an event or near a place, and why.",
        tag="Recommendations",
        handle=recommend,
        body=Nothing,
        query=PeopleQuery,
        reply=PeopleToMeet,
        errors=(EVENT_NOT_FOUND, FORBIDDEN),
    ),
)
