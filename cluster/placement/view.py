"""The versioned view of the cluster: who its members are, and which host owns each shard. Pure and immutable.

Hosts, edges and the supervisor hold one and compare versions; storage keeps the newest. The owner of a shard follows
from the names of the live hosts alone, so every process that holds the same view agrees without asking, a host that
restarts under its name keeps its shards, and a host that comes or goes moves only the shards it gains or loses.
A view is a guess about the world: it never proves ownership, which an epoch claimed in storage does.
"""

import struct
from functools import cached_property, lru_cache
from hashlib import shake_256
from itertools import pairwise
from typing import Final, Literal

import msgspec

from cluster.kernel.ids import Key
from cluster.placement.shards import SHARD_COUNT, shard_of

_SCORES: Final = struct.Struct(f">{SHARD_COUNT}Q")


class Member(msgspec.Struct, frozen=True):
    """One process of the cluster.

    `incarnation` is new each time the process starts. `address` is `host:port` of a host's link or of an edge's
    private HTTP. `node` is the node of the cluster it runs on. A draining member serves what it has and gains nothing.
    `process` is what holds the name, and stays the same when that process is started again.
    """

    name: str
    kind: Literal["host", "edge"]
    incarnation: str
    address: str
    node: str
    state: Literal["live", "draining"] = "live"
    process: str = ""

    @property
    def endpoint(self) -> tuple[str, int]:
        """The address taken apart. Raises ValueError when it is not `host:port`."""
        host, colon, port = self.address.rpartition(":")
        if not colon or not host:
            raise ValueError(f"{self.name}: {self.address!r} is not host:port")
        return host.strip("[]"), int(port)


class View(msgspec.Struct, frozen=True, dict=True):
    """Members in the order of their names, each name once. Of two views the higher version is the newer one."""

    version: int = 0
    members: tuple[Member, ...] = ()

    def __post_init__(self) -> None:
        names = [member.name for member in self.members]
        if any(first >= second for first, second in pairwise(names)):
            raise ValueError("the members of a view must be in the order of their names, each name once")

    @cached_property
    def _by_name(self) -> dict[str, Member]:
        return {member.name: member for member in self.members}

    @cached_property
    def live_hosts(self) -> tuple[Member, ...]:
        """The hosts that own shards."""
        return tuple(member for member in self.members if member.kind == "host" and member.state == "live")

    @cached_property
    def _owners(self) -> tuple[Member, ...]:
        """The owner of each shard; empty without a live host. Made once, when first asked for."""
        hosts = self.live_hosts
        return tuple(map(hosts.__getitem__, _winners(tuple(host.name for host in hosts)))) if hosts else ()

    def of_kind(self, kind: Literal["host", "edge"]) -> tuple[Member, ...]:
        """All members of one kind, draining ones too."""
        return tuple(member for member in self.members if member.kind == kind)

    def member(self, name: str) -> Member | None:
        return self._by_name.get(name)

    def host_of(self, shard: int) -> Member | None:
        """The live host that owns a shard, None when no host is live. Raises IndexError outside 0..1023."""
        if not 0 <= shard < SHARD_COUNT:
            raise IndexError(f"there is no shard {shard}")
        return self._owners[shard] if self._owners else None

    def host_for(self, key: Key) -> Member | None:
        """The live host that owns a key, None when no host is live."""
        owners = self._owners
        return owners[shard_of(key)] if owners else None

    def shards_of(self, name: str) -> tuple[int, ...]:
        """The shards a host owns, in order; empty for anyone who is not a live host."""
        return tuple(shard for shard, host in enumerate(self._owners) if host.name == name)


@lru_cache(maxsize=32)
def _winners(names: tuple[str, ...]) -> tuple[int, ...]:
    """Which of these hosts wins each shard, by its place among them. A death and what follows it change no name."""
    columns = zip(*map(_scores, names), strict=True)
    return tuple(column.index(max(column)) for column in columns)


@lru_cache(maxsize=1024)
def _scores(name: str) -> tuple[int, ...]:
    """How strongly a host of this name is drawn to each shard; the strongest wins it."""
    return _SCORES.unpack(shake_256(name.encode()).digest(_SCORES.size))


def joined(view: View, member: Member) -> View:
    """The next view, with one more member. Raises ValueError when the name is taken."""
    if view.member(member.name) is not None:
        raise ValueError(f"{member.name} is a member already")
    return _next(view, (*view.members, member))


def left(view: View, name: str) -> View:
    """The next view, without that member. Raises ValueError when there is none."""
    _known(view, name)
    return _next(view, tuple(member for member in view.members if member.name != name))


def replaced(view: View, member: Member) -> View:
    """The next view, with another member of the same name. Raises ValueError when there is none to replace."""
    _known(view, member.name)
    return _next(view, tuple(member if old.name == member.name else old for old in view.members))


def draining(view: View, name: str) -> View:
    """The next view, in which that member gains nothing more. Raises ValueError when there is none."""
    return replaced(view, msgspec.structs.replace(_known(view, name), state="draining"))


def _known(view: View, name: str) -> Member:
    member = view.member(name)
    if member is None:
        raise ValueError(f"{name} is not a member")
    return member


def _next(view: View, members: tuple[Member, ...]) -> View:
    return View(view.version + 1, tuple(sorted(members, key=lambda member: member.name)))
