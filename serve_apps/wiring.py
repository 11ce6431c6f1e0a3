"""Chooses where a recommender reads its models and catalogue: what the arguments name, else what the environment says.

Called by the replica when it starts reading. The file is for a Serve application without a database beside it: a model
tried on one machine, a test. `storage` is imported only when it is used.
"""

import asyncio
from pathlib import Path

import msgspec

from cluster.kernel import environment
from cluster.kernel.errors import SETTINGS_INVALID, UNAVAILABLE, FlowError
from serve_apps.contracts import Catalogue, CatalogueChanges, CatalogueEvent, LiveEvents, Signals
from serve_apps.experiments.admission import ExperimentStore

URI_VARIABLE = "FLOW_MONGODB_URI"
DATABASE_VARIABLE = "FLOW_MONGODB_DATABASE"
MODELS_VARIABLE = "FLOW_MODELS_DIRECTORY"


def models_directory(named: Path | str | None) -> Path | str:
    """A directory or an fsspec URL. Raises FlowError SETTINGS_INVALID when neither names one."""
    directory = named or environment.read().get(MODELS_VARIABLE)
    if not directory:
        raise FlowError(SETTINGS_INVALID, f"The recommender needs {MODELS_VARIABLE} in its environment, or models_dir.")
    return directory


async def open_catalogue(catalogue_file: Path | None) -> Catalogue:
    """Raises FlowError UNAVAILABLE when the database is away, SETTINGS_INVALID when none is named."""
    if catalogue_file is not None:
        return FileCatalogue(catalogue_file)
    variables = environment.read()
    uri, database = variables.get(URI_VARIABLE), variables.get(DATABASE_VARIABLE)
    if not uri or not database:
        raise FlowError(
            SETTINGS_INVALID,
            f"The recommender needs {URI_VARIABLE} and {DATABASE_VARIABLE} in its environment, or a catalogue_file.",
        )
    from storage.catalogue import open_catalogue as open_mongodb_catalogue

    catalogue: Catalogue = await open_mongodb_catalogue(uri, database)
    return catalogue


async def open_experiments() -> ExperimentStore | None:
    """None where no database is named. Raises FlowError START_FAILED for a wrong address."""
    variables = environment.read()
    uri, database = variables.get(URI_VARIABLE), variables.get(DATABASE_VARIABLE)
    if not uri or not database:
        return None
    from storage.experiments import open_experiments as open_mongodb_experiments

    store: ExperimentStore = await open_mongodb_experiments(uri, database)
    return store


class FileCatalogue:
    """One CatalogueEvent as JSON per line, read again each time; implements `contracts.Catalogue`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def live_events(self, now_ms: int, most: int) -> LiveEvents:
        try:
            content = await asyncio.to_thread(self._path.read_bytes)
            events = msgspec.json.Decoder(CatalogueEvent).decode_lines(content)
        except (OSError, msgspec.MsgspecError) as error:
            raise FlowError(UNAVAILABLE, f"The catalogue {self._path} cannot be read: {error}") from error
        live = sorted((event for event in events if event.end_ms > now_ms), key=lambda event: event.end_ms)
        return LiveEvents(tuple(live[:most]), max(0, len(live) - most))

    async def changes(self, since_ms: int) -> CatalogueChanges | None:
        """A file does not tell."""
        return None

    async def signals(self, now_ms: int) -> Signals:
        """Nobody does anything in a file."""
        return Signals()

    async def close(self) -> None:
        """Holds nothing open between calls."""
