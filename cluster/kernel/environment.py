"""The only reader and writer of the process's environment.

Called by whoever composes a process (command line, replicas, edges). It promises copies: what it returns never changes
behind the caller's back. It never interprets a value; that is the settings' work.
"""

import os
from collections.abc import Mapping


def read() -> dict[str, str]:
    """A snapshot of the environment."""
    return dict(os.environ)


def ensure(name: str, value: str) -> None:
    """Set `name` for this process and its children, whatever it was."""
    os.environ[name] = value


def replace(values: Mapping[str, str]) -> None:
    """Have `values` and nothing else: for a process that takes the place of another."""
    os.environ.clear()
    os.environ.update(values)


def set_default(name: str, value: str) -> str:
    """Set `name` unless it has a value already; returns the value that holds."""
    return os.environ.setdefault(name, value)
