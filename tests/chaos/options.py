"""What a run is asked for, and what its clients are told."""

from pathlib import Path

import msgspec


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """One run. `seconds` is how long faults come and clients write; starting, healing and judging come on top."""

    seconds: float
    seed: int
    hosts: int = 3
    edges: int = 3
    phones: int = 16
    javascript_phones: int = 4
    rate: float = 160.0
    """Messages a second that all clients together try to send."""
    recommender: bool = False
    kinds: tuple[str, ...] = ()
    """Only these faults; empty for all."""
    mutation: str = ""
    keep: Path | None = None
    """Where histories and logs are kept; without it they are kept only when the run fails."""


class Person(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One client: who it is, how it connects, which rooms it is in and which events it answers."""

    name: str
    user: str
    token: str
    transports: tuple[str, ...]
    rooms: tuple[str, ...]
    events: tuple[str, ...]
    history: str
    """Path of its history."""


class Task(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What one process of clients is told, in Python or JavaScript."""

    url: str
    seed: int
    pause: float
    """Mean time in seconds between two messages of one writer."""
    people: tuple[Person, ...]
