"""Why an event is recommended, in sentences a person can read. Pure; at most two a person and event.

First what was asked for: that it trends, how near it is, who goes. Then the first that hold, from the most personal to
the least: friends who go, something liked before that it is like, an interest it matches, how near it is, that many
go, that it is new.
"""

from collections.abc import Collection, Iterator
from itertools import islice
from typing import Final

from serve_apps.contracts import CatalogueEvent, RecommendationRequest
from serve_apps.geography import distance_km
from serve_apps.pipeline.columns import Columns
from serve_apps.pipeline.ranking_features import Taste
from serve_apps.pipeline.sources import FRESH_MS, Looking

MOST: Final = 2
_NEAR_KM: Final = 10.0
_TRENDS: Final = 0.3
_NUMBERS: Final = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def reasons(look: Looking, row: int, sources: Collection[str]) -> tuple[str, ...]:
    """`sources` are those that proposed it."""
    return tuple(islice(_all(look, row, sources), MOST))


def _all(look: Looking, row: int, sources: Collection[str]) -> Iterator[str]:
    request, columns, event = look.request, look.columns, look.columns.events[row]
    kilometres = _distance(request, event)
    is_near = kilometres is not None and kilometres <= _NEAR_KM
    trends = "It is trending near you." if is_near else "Many people are talking about it."
    is_trending = request.kind == "trending" and "trending" in sources
    if is_trending:
        yield trends
    if kilometres is not None and request.kind == "nearby" and "geographic" in sources:
        yield _how_near(kilometres)
        is_near = False  # said already
    for one in (_friends(request, event), _liked(look.taste, columns, row, sources), _interest(request, event)):
        if one is not None:
            yield one
    if kilometres is not None and is_near:
        yield _how_near(kilometres)
    if not is_trending and columns.trend[row] >= _TRENDS:
        yield trends
    if event.published_ms > 0 and look.now_ms - event.published_ms < FRESH_MS:
        yield "It is new."


def _friends(request: RecommendationRequest, event: CatalogueEvent) -> str | None:
    count = next((one.count for one in request.friends_going if one.event_id == event.event_id), 0)
    if count <= 0:
        return None
    number = _NUMBERS[count] if count < len(_NUMBERS) else str(count)
    return f"{number.capitalize()} {'friend goes' if count == 1 else 'friends go'}."


def _liked(known: Taste, columns: Columns, row: int, sources: Collection[str]) -> str | None:
    if known.liked_rows.size == 0:
        return None
    topics = frozenset(columns.topics[row].tolist())
    shared = [len(liked & topics) for liked in known.liked_topics]
    best = max(range(len(shared)), key=shared.__getitem__)
    if shared[best] == 0:
        return "People with your taste like it." if "collaborative" in sources else None
    title = columns.events[int(known.liked_rows[best])].title
    return f"Because you liked {title}." if title else None


def _interest(request: RecommendationRequest, event: CatalogueEvent) -> str | None:
    topics = {event.category.casefold(), *(tag.casefold() for tag in event.tags)}
    match = next((interest for interest in request.interests if interest.casefold() in topics), None)
    return None if match is None else f"You are interested in {match}."


def _distance(request: RecommendationRequest, event: CatalogueEvent) -> float | None:
    if request.coordinates is None or event.coordinates is None:
        return None
    return distance_km(request.coordinates, event.coordinates)


def _how_near(kilometres: float) -> str:
    return "It is round the corner." if kilometres < 1 else f"It is {kilometres:.0f} km away."
