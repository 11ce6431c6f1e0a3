"""What Ray starts for each worker of a Ray of our own: asks the fork server for one, and else becomes one itself.

Ray starts it as a file, with the worker's arguments, environment, directory and output. It hands all of them on and
ends. A worker comes of it in any case: if there is no fork server for the job, or it does not answer in `ANSWER_S`,
this process becomes Ray's own program, which imports everything anew. Never two come of it: the copy waits for a last
word from here, and ends if that does not come. An interpreter that has no Flow goes without a fork server.

Those who serve feel what it imports, and so that is little: no `json`, `pathlib` or `typing`, which with all that they
import take as long as the rest.
"""

from __future__ import annotations

import os
import socket
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path
    from typing import Final, NoReturn

ADDRESS: Final = "FLOW_FORK_SERVER"
"""The environment's name for the path of the fork server's socket, to which a dot and the job are added."""
JOB: Final = "RAY_JOB_ID"
ANSWER_S: Final = 10.0
"""For a fork server that still imports, beside other things that start. With a start of its own it is less than the
supervisor and Ray wait for a process."""
SIZE_BYTES: Final = 4
MOST_BYTES: Final = 1024 * 1024
"""Of a request; arguments and environments have kilobytes."""
FORM: Final = "2"
"""Of a request, its first word. A fork server that was started before an upgrade answers none of another form."""
END: Final = "\0"
"""Between the words of a request; no argument, path or variable of the environment can contain it."""
PYTHONPATH: Final = "PYTHONPATH"
HERE: Final = b"h"
GO: Final = b"g"


def worker_program() -> Path:
    """Ray's own program for a worker, found without importing Ray."""
    from importlib.util import find_spec
    from pathlib import Path

    ray = find_spec("ray")
    if ray is None or ray.origin is None:
        raise RuntimeError("Ray is not installed")
    return Path(ray.origin).parent / "_private" / "workers" / "default_worker.py"


def request_of(arguments: list[str]) -> bytes:
    """What a copy needs to be the worker that this process would be: form, interpreter, directory, the number of
    arguments, these, and the environment as `NAME=value`. Raises OSError when its directory is gone, ImportError where
    there is no Flow."""
    directory = os.getcwd()  # noqa: PTH109 - pathlib alone takes longer than all of this
    variables = [f"{name}={value}" for name, value in _environment().items()]
    words = [FORM, sys.executable, directory, str(len(arguments)), *arguments, *variables]
    return END.join(words).encode(errors="surrogateescape")


def _environment() -> dict[str, str]:
    """Raises ImportError where there is no Flow, as in a runtime environment with an interpreter of its own."""
    from cluster.kernel import environment

    return environment.read()


def ask(address: str, arguments: list[str], timeout_s: float) -> bool:
    """Have a worker forked with this process's environment, directory and output. False when there is no fork server
    at `address`, its copy would not be the same, or a step took longer than `timeout_s`; no worker comes of it then."""
    try:
        request = request_of(arguments)
        if len(request) > MOST_BYTES:
            return False
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout_s)
            connection.connect(address)
            socket.send_fds(connection, [len(request).to_bytes(SIZE_BYTES)], [0, 1, 2])
            connection.sendall(request)
            if connection.recv(len(HERE)) != HERE:
                return False
            connection.sendall(GO)
    except (OSError, ImportError):
        return False
    return True


def main() -> NoReturn:
    arguments = sys.argv[1:]
    try:
        found = _environment()
    except ImportError:
        found = {}
    if ADDRESS in found and ask(f"{found[ADDRESS]}.{found.get(JOB, '')}", arguments, ANSWER_S):
        os._exit(0)  # nothing is open and nothing waits to be written: no need to take the interpreter apart
    os.execv(sys.executable, [sys.executable, str(worker_program()), *arguments])  # noqa: S606 - what Ray would start


if __name__ == "__main__":
    main()
