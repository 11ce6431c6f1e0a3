"""One installation on one machine: its data directory, its runtime directory, its lock and its state file.

Every command of the command line makes one from `--data-dir`. The data directory is what must be kept: databases,
models, logs, development secrets. The runtime directory holds sockets and Ray's session; it is short, because the path
of a Unix socket may have at most 107 bytes, and it is worth nothing once Flow has stopped. The lock is the kernel's, so
it is free again however the holder died. Nothing here starts or stops anything.
"""

import fcntl
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from cluster.kernel.errors import DATA_DIRECTORY_IN_USE, NOT_RUNNING, START_FAILED, FlowError

STATE_FILE = "flow.json"
LOCK_FILE = "flow.lock"


class Installation:
    """Where everything of one installation is."""

    def __init__(self, data_directory: Path) -> None:
        self.data = data_directory.expanduser().resolve()
        digest = hashlib.sha256(os.fsencode(self.data)).hexdigest()[:10]
        self.name = f"flow-{digest}"
        self.runtime = Path("/tmp") / f"flow-{os.getuid()}-{digest}"  # noqa: S108 - ours alone: see `prepare`
        self.logs = self.data / "logs"
        self.models = self.data / "models"
        self.control_socket = self.runtime / "control.sock"

    def prepare(self) -> None:
        """Make the directories. Raises FlowError START_FAILED when they cannot be made or belong to someone else."""
        try:
            for directory in (self.data, self.logs, self.models):
                directory.mkdir(parents=True, exist_ok=True)
            self.runtime.mkdir(mode=0o700, exist_ok=True)
            status = self.runtime.lstat()
        except OSError as error:
            raise FlowError(START_FAILED, f"{error.filename} cannot be made: {error.strerror}.") from error
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
            raise FlowError(
                START_FAILED,
                f"{self.runtime} is not a directory of yours alone. Remove it or choose another --data-dir.",
            )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the data directory. Raises FlowError DATA_DIRECTORY_IN_USE while another process does."""
        with (self.data / LOCK_FILE).open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise FlowError(DATA_DIRECTORY_IN_USE, self._in_use_sentence()) from None
            yield

    def is_locked(self) -> bool:
        """Whether a supervisor holds the data directory now."""
        try:
            with (self.data / LOCK_FILE).open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    def _in_use_sentence(self) -> str:
        state = self.read_state()
        where = f" It answers at {state['url']}." if state and state.get("url") else ""
        return f"Another Flow uses {self.data}.{where} Stop it with `flow down`, or choose another --data-dir."

    def read_state(self) -> dict[str, Any] | None:
        """What the supervisor wrote last; None when there is nothing readable."""
        try:
            state = orjson.loads((self.data / STATE_FILE).read_bytes())
        except (FileNotFoundError, orjson.JSONDecodeError):
            return None
        return state if isinstance(state, dict) else None

    def running_state(self) -> dict[str, Any]:
        """The state of the Flow that runs. Raises FlowError NOT_RUNNING."""
        state = self.read_state() if self.is_locked() else None
        if state is None:
            raise FlowError(NOT_RUNNING, f"No Flow runs for {self.data}. Start it with `flow up`.")
        return state

    def write_state(self, state: dict[str, Any]) -> None:
        """Replace the state file; a reader sees the old one or the new one."""
        temporary = self.data / f".{STATE_FILE}.new"
        temporary.write_bytes(orjson.dumps(state, option=orjson.OPT_INDENT_2))
        temporary.replace(self.data / STATE_FILE)

    def clear_state(self) -> None:
        (self.data / STATE_FILE).unlink(missing_ok=True)
