"""What `flow doctor` looks at, one function a subject. Each answers a state (ok, note, wrong) and a sentence.

They look and change nothing; a FlowError they raise is what a start would raise.
"""

import importlib.util
import os
import resource
from importlib import metadata
from pathlib import Path

import psutil

from cluster.run.embedded import binaries
from cluster.run.public_port import PublicPort

Finding = tuple[str, str]

_OLDEST_PYTHON = (3, 11)
_NEWEST_PYTHON = (3, 13)
_FILES_AN_EDGE = 4_096
_GIGABYTE = 1024**3
_MEMORY_WITH_MODELS = 2.5
_MEMORY_WITHOUT = 1.5
_DISK_GB = 2


def python(version: tuple[int, ...]) -> Finding:
    shown = ".".join(str(part) for part in version)
    if not _OLDEST_PYTHON <= version[:2] <= _NEWEST_PYTHON:
        return "wrong", f"Python {shown} is not supported. Use 3.11, 3.12 or 3.13."
    return "ok", shown


def server(program: str, variable: str, environment: dict[str, str]) -> Finding:
    if environment.get(variable):
        return "ok", f"{variable} names one"
    return "ok", f"embedded: {binaries.find(program)}"


def port(host: str, number: int) -> Finding:
    """Raises FlowError PORT_IN_USE."""
    held = PublicPort(host, number)
    held.close()
    return "ok", f"{host}:{number} is free"


def writable(directory: Path) -> Finding:
    existing = next(path for path in (directory, *directory.parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        return "wrong", f"{existing} may not be written. Change its owner, or choose another --data-dir."
    return "ok", str(directory) if existing == directory else f"{directory} will be made"


def open_files(edges: int) -> Finding:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        return "ok", "no limit"
    if hard < _FILES_AN_EDGE:
        return "wrong", f"A process may open {hard} files; an edge needs {_FILES_AN_EDGE}. Raise `ulimit -Hn`."
    return "ok", f"{hard} a process: about {(hard - 500) * edges} sockets on {edges} edge(s)"


def memory(*, recommender: bool) -> Finding:
    wanted = _MEMORY_WITH_MODELS if recommender else _MEMORY_WITHOUT
    free = psutil.virtual_memory().available / _GIGABYTE
    if free < wanted:
        advice = " or start with --no-recommender" if recommender else ""
        return "wrong", f"{free:.1f} GB of memory are free; Flow needs about {wanted} GB. Free some{advice}."
    return "ok", f"{free:.1f} GB free"


def disk(directory: Path) -> Finding:
    existing = next(path for path in (directory, *directory.parents) if path.exists())
    free = psutil.disk_usage(str(existing)).free / _GIGABYTE
    if free < _DISK_GB:
        return "wrong", f"{free:.1f} GB are free at {existing}; MongoDB needs at least {_DISK_GB} GB. Free some."
    return "ok", f"{free:.1f} GB free"


def ray_version() -> Finding:
    """Looks at what is installed; importing Ray would take a second."""
    if importlib.util.find_spec("ray") is None:
        return "wrong", "Ray is not installed. Run `make install`."
    return "ok", metadata.version("ray")
