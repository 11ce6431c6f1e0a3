"""Why an event is recommended, in sentences a person can read. Pure; at most two a person and event.

First what was asked for: that it trends, how near it is, who goes. Then the first that hold, from the most personal to
the least: friends who go or else the circle's plans, something liked before that it is like, an interest it matches,
how near it is, that many go, that it is new. A sentence counts whom it names and nobody else.
"""

import math
from collections.abc import Collection, Iterator
from itertools import islice
from typing import Final

from serve_apps.contracts import CatalogueEvent, CirclePlans
from serve_apps.geography import distance_km
from serve_apps.pipeline.columns import Columns
from serve_apps.pipeline.ranking_features import Taste
from serve_apps.pipeline.sources import FRESH_MS, Looking

MOST: Final = 2
_NEAR_KM: Final = 10.0
_LEAST_KM_PER_DEGREE: Final = 111.1
_TRENDS: Final = 0.3
_NUMBERS: Final = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def reasons(look: Looking, row: int, sources: Collection[str]) -> tuple[str, ...]:
    """`sources` are those that proposed it."""
    return tuple(islice(_all(look, row, sources), MOST))


def _all(look: Looking, row: int, sources: Collection[str]) -> Iterator[str]:
    first = _asked_for(look, row, sources)
    if first is not None:
        yield first
    for one in _others(look, row, sources):
        if one is not None and one != first:
            yield one


def _asked_for(look: Looking, row: int, sources: Collection[str]) -> str | None:
    if look.request.kind == "trending" and "trending" in sources:
        return _trends(look, row)
    if look.request.kind == "nearby" and "geographic" in sources:
        return _near(look, row, math.inf)
    return None  # what the circle plans is said first anyway


def _others(look: Looking, row: int, sources: Collection[str]) -> Iterator[str | None]:
    event = look.columns.events[row]
    plans = look.taste.plans.get(event.event_id)
    if plans is not None:
        yield _friends(plans)
        if plans.friends_going <= 0 or look.request.kind == "social":
            yield _circle(plans)
    yield _liked(look.taste, look.columns, row, sources)
    yield _interest(look.taste, event)
    yield _near(look, row, _NEAR_KM)
    if look.columns.trend[row] >= _TRENDS:
        yield _trends(look, row)
    if event.published_ms > 0 and look.now_ms - event.published_ms < FRESH_MS:
        yield "It is new."


def _friends(plans: CirclePlans) -> str | None:
    count = plans.friends_going
    if count <= 0:
        return None
    return f"{_number(count).capitalize()} {'friend goes' if count == 1 else 'friends go'}."


def _circle(plans: CirclePlans) -> str | None:
    """None where it would say no more than that friends go."""
    count = plans.circle
    if count <= plans.friends_going:
        return None
    do = "goes or is" if count == 1 else "go or are"
    return f"Of your friends and those you follow, {_number(count)} {do} interested."


def _number(count: int) -> str:
    return _NUMBERS[count] if count < len(_NUMBERS) else str(count)


def _liked(known: Taste, columns: Columns, row: int, sources: Collection[str]) -> str | None:
    if known.liked_rows.size == 0:
        return None
    topics = known.any_liked.intersection(columns.topics[row, : columns.topics_used].tolist())
    if not topics:
        return "People with your taste like it." if "collaborative" in sources else None
    shared = [len(liked & topics) for liked in known.liked_topics]
    best = shared.index(max(shared))
    title = columns.events[int(known.liked_rows[best])].title
    return f"Because you liked {title}." if title else None


def _interest(known: Taste, event: CatalogueEvent) -> str | None:
    topics = {event.category.casefold(), *map(str.casefold, event.tags)}
    for interest, folded in known.interests:
        if folded in topics:
            return f"You are interested in {interest}."
    return None


def _near(look: Looking, row: int, most: float) -> str | None:
    here, there = look.request.coordinates, look.columns.events[row].coordinates
    if here is None or there is None:
        return None
    if abs(here[1] - there[1]) * _LEAST_KM_PER_DEGREE > most:
        return None  # far enough to the north or the south; most are
    kilometres = distance_km(here, there)
    if kilometres > most:
        return None
    return "It is round the corner." if kilometres < 1 else f"It is {kilometres:.0f} km away."


def _trends(look: Looking, row: int) -> str:
    is_far = _near(look, row, _NEAR_KM) is None
    return "Many people are talking about it." if is_far else "It is trending near you."
