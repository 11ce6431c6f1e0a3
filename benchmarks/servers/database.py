"""One MongoDB for all that stores in one run, started as Flow starts its own: a replica set of one, journalled."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from cluster.run.settings import EmbeddedSettings
from tests.support.servers import MongoServer


@contextlib.contextmanager
def mongodb(directory: Path) -> Iterator[MongoServer]:
    server = MongoServer()
    server.cache_gb = EmbeddedSettings().mongodb_cache_gb
    server.start(directory)
    try:
        yield server
    finally:
        server.stop()
