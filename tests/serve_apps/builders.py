"""Small worlds for the recommender's tests: two tastes, people who hold one of them, events that suit one of them."""

import random
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from cluster.kernel.clock import Clock
from serve_apps.contracts import CatalogueEvent, InteractionRow, ModelPerson
from serve_apps.engine import RecommendationEngine
from serve_apps.guarded import Guarded
from serve_apps.pipeline.pipeline import Pipeline
from serve_apps.pipeline.plugins import Plugins
from serve_apps.pipeline.settings import PipelineSettings, Plugin

TASTES = ("jazz", "python")
START_MS = 1_700_000_000_000
FAR_MS = 4_000_000_000_000


def event(event_id: str, tag: str = "jazz", *, end_ms: int = FAR_MS, is_public: bool = True) -> CatalogueEvent:
    return CatalogueEvent(
        event_id=event_id,
        title=f"A night of {tag}",
        category=tag,
        tags=(tag,),
        coordinates=(11.5, 48.1),
        start_ms=end_ms - 3_600_000,
        end_ms=end_ms,
        is_public=is_public,
    )


def events_of_two_tastes(count: int) -> list[CatalogueEvent]:
    return [event(f"{taste}-{number}", taste) for taste in TASTES for number in range(count // 2)]


def engine_with(
    clock: Clock, catalogue_limit: int = 10_000, *, plugins: Sequence[Plugin] = (), **settings: Any
) -> RecommendationEngine:
    """An engine with a pipeline of its own; `settings` are the pipeline's."""
    chosen = PipelineSettings(plugins=tuple(plugins), **settings)
    return RecommendationEngine(clock, catalogue_limit, Pipeline(chosen, Plugins(chosen.plugins, Guarded())))


class ListedData:
    """Rows held in lists, served in pages of `page`; implements `serve_apps.data.TrainingData`."""

    def __init__(
        self,
        interactions: Sequence[InteractionRow] = (),
        events: Sequence[CatalogueEvent] = (),
        people: Sequence[ModelPerson] = (),
        page: int = 50,
    ) -> None:
        self._interactions, self._events, self._people, self._page = interactions, events, people, page

    async def interactions(self) -> AsyncIterator[Sequence[InteractionRow]]:
        for start in range(0, len(self._interactions), self._page):
            yield self._interactions[start : start + self._page]

    async def events(self) -> AsyncIterator[Sequence[CatalogueEvent]]:
        yield self._events

    async def people(self) -> AsyncIterator[Sequence[ModelPerson]]:
        yield self._people

    async def close(self) -> None:
        """Nothing is open."""


def two_tastes(*, people: int = 40, events: int = 40, likes: int = 12, seed: int = 7, told: bool = True) -> ListedData:
    """Everybody likes `likes` events of one taste and dislikes one of the other; `told` are the people's interests."""
    chance = random.Random(seed)
    catalogue = events_of_two_tastes(events)
    rows, crowd = [], []
    for number in range(people):
        taste, other = TASTES if number % 2 == 0 else TASTES[::-1]
        user_id = f"user-{number}"
        crowd.append(ModelPerson(user_id=user_id, interests=(taste,) if told else ()))
        liked = chance.sample([one.event_id for one in catalogue if taste in one.tags], likes)
        rows += [
            InteractionRow(user_id, event_id, "attend", 1.0, START_MS + step) for step, event_id in enumerate(liked)
        ]
        disliked = chance.choice([one.event_id for one in catalogue if other in one.tags])
        rows.append(InteractionRow(user_id, disliked, "dismiss", 0.0, START_MS))
    return ListedData(rows, catalogue, crowd)


def write_catalogue(path: Path, events: Sequence[CatalogueEvent]) -> None:
    """Replace the file at once, as `FileCatalogue` reads it."""
    temporary = path.with_suffix(".new")
    temporary.write_bytes(b"\n".join(msgspec.json.encode(one) for one in events))
    temporary.replace(path)
