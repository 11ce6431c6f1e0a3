"""The fork server: imports what hosts, edges and Ray's workers need, then makes a copy of itself for whoever asks.

It runs as a process of its own, has one thread and no event loop, connects to nothing and draws no random numbers, so
that a copy may become anything. It listens before it imports: who asks early waits. The copy and not the server reads
the request, so that nothing in one can harm the next. Only processes of this user are heard.
"""

import gc
import importlib
import os
import runpy
import signal
import socket
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple, NoReturn

from cluster.kernel import environment
from cluster.run.fork_server.entrance import (
    END,
    FORM,
    GO,
    HERE,
    JOB,
    MOST_BYTES,
    PYTHONPATH,
    SIZE_BYTES,
    worker_program,
)
from cluster.run.fork_server.one_processor import keep_to_one

RAYLET: Final = "RAY_RAYLET_PID"
_WAITING: Final = 64
"""Connections that may wait to be accepted; more are refused, and whoever asked starts a worker without us."""
_REQUEST_S: Final = 20.0
_OUTPUTS: Final = 3
_CREDENTIALS: Final = struct.Struct("3i")
_MODULES: Final = (
    "cluster.run.host_actor",
    "cluster.run.edge_actor",
    # What these and Ray import only once a worker starts.
    "motor.motor_asyncio",
    "pydantic.v1",
    "ray._common.pydantic_compat",
    "ray._common.usage.usage_lib",
    "ray._private.arrow_serialization",
    "starlette.datastructures",
)


class Request(NamedTuple):
    """What the worker is to be."""

    executable: str
    directory: str
    arguments: list[str]
    environment: dict[str, str]


class NotForked(Exception):
    """The request was incomplete, was taken back or wants what a copy cannot be; no worker comes of it."""


def listen(path: Path) -> socket.socket:
    """A fresh socket at `path`, for this user alone as its directory is. Raises OSError."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen(_WAITING)
    return listener


def preload() -> None:
    """Import everything, and keep the collector's hands off it: what that touches a copy would have to hold anew."""
    runpy.run_path(str(worker_program()), run_name="worker")  # imports alone: it starts under the name "__main__"
    for name in _MODULES:
        importlib.import_module(name)
    sys.stdout.flush()  # what an import has said is not said again by each copy
    gc.collect()
    gc.freeze()


def serve(listener: socket.socket, become: Callable[[Request], NoReturn]) -> NoReturn:
    """Fork for each connection, for ever; the copy reads the request and does `become` with it. Where no process can
    be made the connection is closed, and whoever asked goes without us."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # copies are Ray's to watch: the kernel buries them
    turn = 0
    while True:
        connection, _ = listener.accept()
        turn += 1
        with connection:
            if _user(connection) == os.getuid() and _is_copy():
                listener.close()
                keep_to_one(turn)
                _copy(connection, become)


def _is_copy() -> bool:
    try:
        return os.fork() == 0
    except OSError as error:
        _say(error)
        return False


def _say(error: Exception) -> None:
    sys.stderr.write(f"no worker: {type(error).__name__}: {error}\n")
    sys.stderr.flush()


def _user(connection: socket.socket) -> int:
    """Who runs the process at the other end."""
    packed = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(packed)[1])


def _copy(connection: socket.socket, become: Callable[[Request], NoReturn]) -> NoReturn:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setpgid(0, 0)  # Ray ends what a worker leaves by its process group: ours must not be in it
    try:
        request = _agreed(connection)
    except (NotForked, OSError, ValueError) as error:
        _say(error)
        os._exit(1)
    connection.close()
    become(request)


def _agreed(connection: socket.socket) -> Request:
    """The request, once whoever asked has said that it starts no worker itself. Its directory is ours then, and its
    output in place of ours.

    Raises NotForked, OSError, ValueError.
    """
    connection.settimeout(_REQUEST_S)
    size, descriptors, _, _ = socket.recv_fds(connection, SIZE_BYTES, _OUTPUTS)
    if not size:
        os._exit(0)  # it only looked whether somebody listens
    if len(size) != SIZE_BYTES or len(descriptors) != _OUTPUTS or int.from_bytes(size) > MOST_BYTES:
        raise NotForked("not a request")
    packed = bytearray()
    while missing := int.from_bytes(size) - len(packed):
        piece = connection.recv(missing)
        if not piece:
            raise NotForked("the request ended in its middle")
        packed += piece
    request = _read(packed.decode(errors="surrogateescape"))
    _check(request)
    os.chdir(request.directory)
    connection.sendall(HERE)
    if connection.recv(len(GO)) != GO:
        raise NotForked("whoever asked no longer waits")
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    return request


def _read(packed: str) -> Request:
    """Raises NotForked or ValueError."""
    form, *words = packed.split(END)
    if form != FORM:
        raise NotForked("a request of another form")
    executable, directory, size, *words = words
    arguments, variables = words[: int(size)], words[int(size) :]
    return Request(executable, directory, arguments, dict(_variable(word) for word in variables))


def _variable(word: str) -> tuple[str, str]:
    name, _, value = word.partition("=")
    return name, value


def _check(request: Request) -> None:
    """A copy has the interpreter and the module path of the fork server. Ray's runtime environments may want others
    (conda, pip, `working_dir`): those start anew. Raises NotForked."""
    theirs = (request.executable, request.environment.get(PYTHONPATH))
    if theirs != (sys.executable, environment.read().get(PYTHONPATH)):
        raise NotForked("another interpreter or module path")


def become_worker(request: Request) -> NoReturn:
    """Run Ray's program for a worker in this process, as if it had been started with the request's words."""
    program = worker_program()
    environment.replace(request.environment)
    sys.argv[:] = [str(program), *request.arguments]
    if not sys.flags.safe_path:
        sys.path[0] = str(program.parent)
    runpy.run_path(str(program), run_name="__main__")
    sys.exit(0)


def main(path: str, raylet: str, job: str) -> NoReturn:
    # Ray's library reads these two once, when it is loaded, and a copy cannot make it look again.
    environment.ensure(RAYLET, raylet)
    environment.ensure(JOB, job)
    listener = listen(Path(path))
    preload()
    serve(listener, become_worker)


if __name__ == "__main__":
    main(*sys.argv[1:])
