"""Training rows out of the database: it is the TrainingData port of the training job.

Used by `flow train`. Interactions and answers to events are what people did; each call reads from the beginning, page
by page, and holds no more than one page. What is written while it reads may or may not be seen.
"""

from collections.abc import AsyncGenerator, Sequence
from typing import Any

from serve_apps.contracts import ACTION_WEIGHTS, CatalogueEvent, InteractionRow, ModelPerson
from storage.analytics import ACTION_OF_STATUS
from storage.catalogue import EVENT_FIELDS, PAGE_ROWS, catalogue_event
from storage.client import Database
from storage.settings import StorageSettings


class MongoTrainingData:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def interactions(self) -> AsyncGenerator[Sequence[InteractionRow], None]:
        """What was recorded or imported, then the answers to events."""
        async for page in self._pages(
            "interactions", {"user_id": 1, "event_id": 1, "action": 1, "weight": 1, "at_ms": 1}
        ):
            yield [
                InteractionRow(row["user_id"], row["event_id"], row["action"], float(row["weight"]), row["at_ms"])
                for row in page
            ]
        async for page in self._pages("rsvps", {"user_id": 1, "event_id": 1, "status": 1, "at_ms": 1}):
            yield [_answer(row) for row in page]

    async def events(self) -> AsyncGenerator[Sequence[CatalogueEvent], None]:
        async for page in self._pages("events", EVENT_FIELDS):
            yield [catalogue_event(row) for row in page]

    async def people(self) -> AsyncGenerator[Sequence[ModelPerson], None]:
        fields = {"profile.interests": 1, "profile.location.coordinates": 1}
        async for page in self._pages("users", fields):
            yield [_person(row) for row in page]

    async def _pages(self, name: str, fields: dict[str, int]) -> AsyncGenerator[list[dict[str, Any]], None]:
        collection = self._database.collection(name)
        async for page in collection.pages({}, projection=fields, page_rows=PAGE_ROWS):
            yield page

    async def close(self) -> None:
        await self._database.close()


async def open_training_data(uri: str, database: str) -> MongoTrainingData:
    """A source with a client of its own. Raises FlowError START_FAILED for a wrong address, UNAVAILABLE."""
    opened = Database(StorageSettings(uri=uri, database=database, pool_size=4, operation_timeout_ms=30_000))
    try:
        await opened.ping()
    except BaseException:
        await opened.close()
        raise
    return MongoTrainingData(opened)


def _answer(row: dict[str, Any]) -> InteractionRow:
    action = ACTION_OF_STATUS[row["status"]]
    return InteractionRow(row["user_id"], row["event_id"], action, ACTION_WEIGHTS[action], row["at_ms"])


def _person(row: dict[str, Any]) -> ModelPerson:
    profile = row["profile"]
    location = profile.get("location")
    coordinates: tuple[float, float] | None = tuple(location["coordinates"]) if location else None
    return ModelPerson(user_id=row["_id"], interests=tuple(profile["interests"]), coordinates=coordinates)
