"""Compares models on files, without a server: what `flow train --data … --dry-run` does.

Called by the command line in its own process. With a test file the given split is used, else a split by time. Reads,
fits and measures; writes nothing.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from cluster.kernel.errors import TRAINING_DATA_INVALID, FlowError
from serve_apps.contracts import CatalogueEvent, ModelPerson
from serve_apps.csv_data import ColumnNames, CsvTrainingData, Layout, Scale, Threshold, threshold
from serve_apps.data import PAGE_ROWS, Dataset, Interactions, gather
from serve_apps.training.comparison import Bench, Comparison, cut
from serve_apps.training.csv_features import Remarks, item_features, user_features
from serve_apps.training.settings import Progress, TrainingProgress, TrainingSettings, silent
from serve_apps.training.split import liked


@dataclass(frozen=True, slots=True)
class Files:
    """What to read and how. `positive` is the label from which a row is liking; None finds it (see `threshold`)."""

    data: Path
    columns: ColumnNames = field(default_factory=ColumnNames)
    positive: float | None = None
    item_features: Path | None = None
    user_features: Path | None = None
    test: Path | None = None


class FeaturedData(CsvTrainingData):
    """A file of interactions with what is known of its items and users."""

    def __init__(
        self, path: Path, scale: Scale, layout: Layout, events: list[CatalogueEvent], people: list[ModelPerson]
    ) -> None:
        super().__init__(path, scale, layout)
        self._events, self._people = events, people

    async def events(self) -> AsyncIterator[Sequence[CatalogueEvent]]:
        for start in range(0, len(self._events), PAGE_ROWS):
            yield self._events[start : start + PAGE_ROWS]

    async def people(self) -> AsyncIterator[Sequence[ModelPerson]]:
        for start in range(0, len(self._people), PAGE_ROWS):
            yield self._people[start : start + PAGE_ROWS]


async def open_files(files: Files, remarks: Remarks) -> FeaturedData:
    """The training file with its features. Raises FlowError TRAINING_DATA_INVALID for files that cannot be used."""
    layout = Layout(files.columns, needs_label=False, needs_time=files.test is None)
    if files.positive is None:
        scale = await asyncio.to_thread(threshold, files.data, layout)
    else:
        scale = Threshold(files.positive)
    events: list[CatalogueEvent] = []
    people: list[ModelPerson] = []
    if files.item_features is not None:
        events = await asyncio.to_thread(item_features, files.item_features, files.columns.item, remarks)
    if files.user_features is not None:
        people = await asyncio.to_thread(user_features, files.user_features, files.columns.user, remarks)
    return FeaturedData(files.data, scale, layout, events, people)


async def compare(
    files: Files, settings: TrainingSettings, progress: Progress | None = None, remarks: Remarks | None = None
) -> Comparison:
    """Every kind of the settings, measured. Raises FlowError TRAINING_DATA_INVALID for files that cannot be used."""
    report = progress or silent
    report(TrainingProgress("reading"))
    data = await open_files(files, remarks if remarks is not None else Remarks())
    dataset = await gather(data)
    test = None
    if files.test is not None:
        other = FeaturedData(files.test, data.scale, data.layout, [], [])
        dataset, test = merged(dataset, await gather(other), settings.seed)
    return await asyncio.to_thread(_compare, dataset, test, settings, report)


def _compare(dataset: Dataset, test: Interactions | None, settings: TrainingSettings, report: Progress) -> Comparison:
    bench = Bench(dataset, settings, report)
    return bench.compare(cut(dataset.interactions, settings, test))


def merged(train: Dataset, test: Dataset, seed: int) -> tuple[Dataset, Interactions]:
    """One dataset whose interactions are those of `train`, and the likes of `test` as rows of it."""
    if not len(liked(test.interactions)):
        raise FlowError(TRAINING_DATA_INVALID, "Nobody liked anything in the test part.")
    people = {person.user_id: person for person in (*test.people, *train.people)}
    events = {event.event_id: event for event in (*test.events, *train.events)}
    person_ids, event_ids = sorted(people), sorted(events)
    person_rows = {name: row for row, name in enumerate(person_ids)}
    event_rows = {name: row for row, name in enumerate(event_ids)}

    def moved(one: Dataset) -> Interactions:
        of_people = np.array([person_rows[person.user_id] for person in one.people], np.int32)
        of_events = np.array([event_rows[event.event_id] for event in one.events], np.int32)
        rows = one.interactions
        return replace(rows, person=of_people[rows.person], event=of_events[rows.event])

    rows = moved(train)
    if not rows.at_ms.any():
        # Without times there is no order; one drawn from the seed favours no event.
        rows = replace(rows, at_ms=np.random.default_rng(seed).permutation(len(rows)).astype(np.int64))
    whole = Dataset(
        tuple(people[name] for name in person_ids),
        tuple(events[name] for name in event_ids),
        rows,
        train.fingerprint,
    )
    return whole, liked(moved(test))
