"""What the fleet should do next, from what it wants and what it knows of its processes. Pure.

Members are names that must be held; processes hold them or stand by. The fleet asks `next_steps` whenever something
changed, carries the steps out and asks again. It promises that a name is given to one process at a time, that a standby
is used before another process is made, and that there are never more processes than members, standbys and those whose
return is awaited. A process that starts takes processor time from those that serve: after a loss, spares wait for calm
and only what is needed to hold a name is made at once.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from cluster.kernel.errors import CHANGE_REFUSED, INVALID_REQUEST, UNKNOWN_MEMBER, FlowError
from cluster.run.settings import MAX_MEMBERS

Kind = Literal["host", "edge"]
KINDS: Final[tuple[Kind, ...]] = ("host", "edge")


@dataclass(frozen=True, slots=True)
class WantedMember:
    """`holder` is the process that has the name, while it is up, and `node` where. A name `is_leaving` is not filled
    again."""

    name: str
    kind: Kind
    holder: str | None = None
    is_leaving: bool = False
    node: str = ""


@dataclass(frozen=True, slots=True)
class KnownProcess:
    """`is_standby`: up and without a name. `is_coming`: it starts, for the first time or again, and will be one."""

    name: str
    kind: Kind
    is_coming: bool
    is_standby: bool
    node: str = ""


@dataclass(frozen=True, slots=True)
class Fill:
    """Give the name to this standby."""

    member: str
    process: str


@dataclass(frozen=True, slots=True)
class Make:
    """Make another process."""

    kind: Kind


@dataclass(frozen=True, slots=True)
class Retire:
    """End a standby that nobody needs."""

    process: str


Step = Fill | Make | Retire


def next_steps(
    members: Iterable[WantedMember],
    processes: Iterable[KnownProcess],
    standbys: dict[Kind, int],
    *,
    is_calm: bool = True,
) -> list[Step]:
    """The steps that bring the processes to the members; none when all is well. Unless `is_calm`, spares that are
    missing are not made yet."""
    steps: list[Step] = []
    wanted, known = list(members), list(processes)
    for kind in KINDS:
        own = [member for member in wanted if member.kind == kind]
        empty = [member for member in own if member.holder is None and not member.is_leaving]
        mine = [process for process in known if process.kind == kind]
        crowd = Counter(member.node for member in own if member.holder is not None)
        ready = sorted((process for process in mine if process.is_standby), key=lambda process: crowd[process.node])
        free = [process.name for process in ready]
        filled = list(zip(empty, free, strict=False))
        steps += [Fill(member.name, process) for member, process in filled]
        coming = sum(process.is_coming for process in mine)
        spare = len(free) + coming - len(empty) - standbys[kind]
        short = -spare if is_calm else len(empty) - len(free) - coming
        steps += [Make(kind)] * short
        surplus = free[len(filled) :][: max(0, spare)]
        steps += [Retire(process) for process in surplus]
    return steps


def emptiest(nodes: Iterable[str], members: Iterable[WantedMember], kind: Kind) -> str | None:
    """Where the next member of a kind should run: the node with the fewest; None when there is no choice."""
    known = sorted(nodes)
    if len(known) < 2:
        return None
    crowd = Counter(member.node for member in members if member.kind == kind and member.holder is not None)
    return min(known, key=lambda node: crowd[node])


def check_counts(hosts: int | None, edges: int | None) -> None:
    """Raises FlowError INVALID_REQUEST for numbers that cannot be meant."""
    if hosts is None and edges is None:
        raise FlowError(INVALID_REQUEST, "Say how many: hosts=N, edges=N or both.", fields=("hosts", "edges"))
    for name, count in (("hosts", hosts), ("edges", edges)):
        if count is not None and not 1 <= count <= MAX_MEMBERS:
            raise FlowError(INVALID_REQUEST, f"{name} must be 1 to {MAX_MEMBERS}, not {count}.", fields=(name,))


def to_scale(names: Sequence[str], kind: Kind, count: int) -> tuple[list[str], list[str]]:
    """The names to add, lowest first, and those to drain, highest first, so that `count` of this kind are left."""
    numbers = sorted(int(name.rpartition("-")[2]) for name in names)
    free = (number for number in range(MAX_MEMBERS + len(numbers)) if number not in numbers)
    added = [f"{kind}-{next(free)}" for _ in range(count - len(numbers))]
    drained = [f"{kind}-{number}" for number in reversed(numbers[count:])]
    return added, drained


def check_drain(names: Sequence[str], name: str) -> Kind:
    """The kind of a member that may be drained. Raises FlowError UNKNOWN_MEMBER, or CHANGE_REFUSED for the last."""
    if name not in names:
        known = ", ".join(sorted(names))
        raise FlowError(UNKNOWN_MEMBER, f"There is no host or edge {name!r}. There are {known}.", fields=("name",))
    kind: Kind = "host" if name.startswith("host-") else "edge"
    if sum(other.startswith(f"{kind}-") for other in names) == 1:
        raise FlowError(CHANGE_REFUSED, f"{name} is the last {kind}: nobody would be served. Add another first.")
    return kind
