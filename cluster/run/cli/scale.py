"""`flow scale` and `flow drain`: change how many hosts and edges there are while they serve."""

from typing import Annotated, Any

import typer

from cluster.kernel.errors import INVALID_REQUEST, FlowError
from cluster.run.cli.common import DEFAULT_DATA_DIRECTORY, AsJson, DataDirectory, print_json, remarks, reports_errors
from cluster.run.control import ask
from cluster.run.installation import Installation

_LONGEST_S = 3600.0
"""The supervisor bounds every step itself; this ends a wait for one that has gone."""
_NAMES = ("hosts", "edges")


@reports_errors
def scale(
    counts: Annotated[list[str], typer.Argument(metavar="hosts=N edges=M", help="How many there are to be.")],
    data_directory: DataDirectory = DEFAULT_DATA_DIRECTORY,
    as_json: AsJson = False,
) -> None:
    """Have so many hosts and edges from now on."""
    _change(data_directory, "scale", _parsed(counts), as_json=as_json)


@reports_errors
def drain(
    name: Annotated[str, typer.Argument(help="A host or an edge, such as host-1.")],
    data_directory: DataDirectory = DEFAULT_DATA_DIRECTORY,
    as_json: AsJson = False,
) -> None:
    """Take one host or edge away: it hands over what it has, and does not come back."""
    _change(data_directory, "drain", {"name": name}, as_json=as_json)


def _parsed(counts: list[str]) -> dict[str, int]:
    """Raises FlowError INVALID_REQUEST with what to write instead."""
    found: dict[str, int] = {}
    for text in counts:
        name, equals, number = text.partition("=")
        if name not in _NAMES or not equals or name in found:
            raise FlowError(INVALID_REQUEST, f"{text!r} is not hosts=N or edges=N, each once.", fields=("counts",))
        try:
            found[name] = int(number)
        except ValueError:
            raise FlowError(INVALID_REQUEST, f"{number!r} is not a number of {name}.", fields=(name,)) from None
    return found


def _change(data_directory: Any, op: str, arguments: dict[str, Any], *, as_json: bool) -> None:
    installation = Installation(data_directory)
    installation.running_state()
    found: dict[str, Any] = ask(installation.control_socket, op, _LONGEST_S, on_progress=remarks.print, **arguments)
    if as_json:
        print_json(found)
        return
    remarks.print(f"There are {found['hosts']} hosts and {found['edges']} edges now.")
