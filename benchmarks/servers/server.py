"""What a measurement needs of any server. Flow and its peers are told apart by nothing else."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from benchmarks.load.orders import Target


class Server(Protocol):
    """A server that runs. `name` stands in the results; `settings` is what was set otherwise than it comes."""

    name: str
    settings: dict[str, Any]

    def target(self, *, deflate: bool = False) -> Target: ...

    def auth(self, number: int) -> dict[str, Any]:
        """What client `number` connects with."""

    def people(self, numbers: Sequence[int]) -> None:
        """Make the people that these clients are."""

    def rooms(self, members: Sequence[Sequence[int]]) -> list[str]:
        """Make a room for each list of clients, and the people; their ids."""

    def roles(self) -> dict[int, str]:
        """All processes of the server as they are now, by what they are; the database it stores in included."""


_Named = TypeVar("_Named", bound=Server)


@contextmanager
def named(server: _Named) -> Iterator[_Named]:
    """The server, while it is measured: what goes wrong meanwhile says at which."""
    try:
        yield server
    except Exception as error:
        error.add_note(f"while {server.name} was measured")
        raise


def user_id(number: int) -> str:
    """The person that client `number` is."""
    return f"{1:08x}{number:016x}"
