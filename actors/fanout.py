"""Fan-out: which edges watch which keys, and one batch of deliveries to each edge per loop turn.

The runner hands it deliveries whose cause is durable, in the order of each key. It promises that an edge gets them in
that order, each encoded once however many edges there are, and that an edge which cannot take a push loses its watches
(it comes back with Resume). While a resume is being answered, what its keys tell gathers behind a `Cork`.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count

import msgspec

from actors.activation import Activation
from actors.effects import FanOut
from actors.limits import HostLimits
from actors.messages import PUSH_BATCH, PUSH_MOVED, Moved
from cluster.kernel.errors import FlowError
from cluster.kernel.wire import encode_raw
from cluster.link.port import Peer

_log = logging.getLogger("flow.actors")


class _EncodedBatch(msgspec.Struct, frozen=True, gc=False):
    """A `messages.Batch` whose deliveries are encoded already."""

    deliveries: list[msgspec.Raw]


class Cork:
    """Holds back one key's deliveries for one edge, within a bound."""

    __slots__ = ("activation", "bytes", "has_overflowed", "held", "max_bytes")

    def __init__(self, activation: Activation, max_bytes: int) -> None:
        self.activation = activation
        self.max_bytes = max_bytes
        self.held: list[msgspec.Raw] = []
        self.bytes = 0
        self.has_overflowed = False

    def add(self, encoded: msgspec.Raw, size: int) -> None:
        self.bytes += size
        if self.bytes > self.max_bytes:
            self.has_overflowed = True
            self.held.clear()
        if not self.has_overflowed:
            self.held.append(encoded)


class Edge:
    """One link to one edge: what it watches, which sessions have sockets there, and what the next push will carry."""

    __slots__ = ("bytes", "is_due", "label", "moved", "outgoing", "peer", "sessions", "watched")

    def __init__(self, peer: Peer, label: str) -> None:
        self.peer = peer
        self.label = label
        self.watched: set[Activation] = set()
        self.sessions: set[Activation] = set()
        self.outgoing: list[msgspec.Raw] = []
        self.moved: list[str] = []
        self.bytes = 0
        self.is_due = False


@dataclass(slots=True)
class FanOutCounters:
    deliveries: int = 0
    edge_deliveries: int = 0
    batches: int = 0
    pushes_refused: int = 0
    moved_told: int = 0


class FanOuts:
    """All edges of one host."""

    def __init__(self, limits: HostLimits) -> None:
        self.became_unwatched: Callable[[Activation], None] = lambda activation: None
        """Hears when the last watcher of a key has gone."""
        self._limits = limits
        self._edges: dict[Peer, Edge] = {}
        self._due: list[Edge] = []
        self._labels = count(1)
        self._view_version = 0
        self.counters = FanOutCounters()

    # --- edges --------------------------------------------------------------------------------------------------------

    def connected(self, peer: Peer) -> None:
        self._edges[peer] = Edge(peer, f"{peer.name}#{next(self._labels)}")

    def edge(self, peer: Peer | None) -> Edge | None:
        return self._edges.get(peer) if peer is not None else None

    def lost(self, peer: Peer) -> Edge | None:
        """Forget an edge and its watches. The caller deals with its sessions."""
        edge = self._edges.pop(peer, None)
        if edge is not None:
            self.unwatch_all(edge)
        return edge

    def forget_session(self, activation: Activation) -> None:
        """This session is no longer here, whichever edges have its sockets."""
        for edge in self._edges.values():
            edge.sessions.discard(activation)

    def set_view_version(self, version: int) -> None:
        self._view_version = version

    # --- watching -----------------------------------------------------------------------------------------------------

    def watch(self, edge: Edge, activation: Activation, cork: Cork | None = None) -> None:
        """What the key tells from here on goes to this edge too. What it told before has left."""
        if edge.outgoing:
            self._flush(edge)
        if activation.watchers is None:
            activation.watchers = {}
        activation.watchers[edge] = cork
        edge.watched.add(activation)

    def unwatch(self, edge: Edge, activation: Activation) -> None:
        edge.watched.discard(activation)
        if activation.watchers is not None:
            activation.watchers.pop(edge, None)
            if not activation.watchers:
                activation.watchers = None
                self.became_unwatched(activation)

    def unwatch_all(self, edge: Edge) -> None:
        for activation in list(edge.watched):
            self.unwatch(edge, activation)

    def uncork(self, edge: Edge, cork: Cork) -> None:
        """The resume is answered: what was held back leaves, and nothing is held back any more."""
        activation = cork.activation
        if activation.watchers is None or activation.watchers.get(edge) is not cork:
            return
        if cork.has_overflowed:
            self.unwatch(edge, activation)
            return
        activation.watchers[edge] = None
        for encoded in cork.held:
            self._put(edge, encoded, len(memoryview(encoded)))

    # --- telling ------------------------------------------------------------------------------------------------------

    def deliver(self, activation: Activation, fan_outs: Sequence[FanOut]) -> None:
        """To everyone who watches, at the end of this loop turn."""
        watchers = activation.watchers
        if not watchers:
            return
        for fan_out in fan_outs:
            self.counters.deliveries += 1
            encoded = encode_raw(fan_out)
            size = len(memoryview(encoded))
            for edge, cork in tuple(watchers.items()):  # an edge that refuses a push leaves meanwhile
                if cork is not None:
                    cork.add(encoded, size)
                else:
                    self._put(edge, encoded, size)

    def tell_moved(self, activation: Activation) -> None:
        """Whoever watches must ask the owner again; nobody watches here any more."""
        watchers, activation.watchers = activation.watchers, None
        for edge in watchers or ():
            edge.watched.discard(activation)
            edge.moved.append(activation.name)
            self._make_due(edge)

    def _put(self, edge: Edge, encoded: msgspec.Raw, size: int) -> None:
        if edge.bytes + size > self._limits.push_bytes and edge.outgoing:
            self._flush(edge)
        edge.outgoing.append(encoded)
        edge.bytes += size
        self.counters.edge_deliveries += 1
        self._make_due(edge)

    def _make_due(self, edge: Edge) -> None:
        if edge.is_due:
            return
        edge.is_due = True
        if not self._due:
            asyncio.get_running_loop().call_soon(self.flush)
        self._due.append(edge)

    def flush(self) -> None:
        """Push what the edges are owed."""
        due, self._due = self._due, []
        for edge in due:
            edge.is_due = False
            self._flush(edge)

    def _flush(self, edge: Edge) -> None:
        if edge.outgoing:
            outgoing, edge.outgoing, edge.bytes = edge.outgoing, [], 0
            self.counters.batches += 1
            self._push(edge, PUSH_BATCH, _EncodedBatch(outgoing))
        while edge.moved:
            keys, edge.moved = edge.moved[: self._limits.max_resume_keys], edge.moved[self._limits.max_resume_keys :]
            self.counters.moved_told += len(keys)
            self._push(edge, PUSH_MOVED, Moved(keys=tuple(keys), view=self._view_version))

    def _push(self, edge: Edge, topic: str, body: msgspec.Struct) -> None:
        try:
            if edge.peer.push(topic, body):
                return
        except FlowError as error:
            _log.error("a push to %s was refused: %s", edge.label, error)
            edge.peer.close("a push was refused")
        self.counters.pushes_refused += 1
        self.unwatch_all(edge)

    # --- numbers ------------------------------------------------------------------------------------------------------

    def statistics(self) -> dict[str, int]:
        counters = self.counters
        return {
            "edges": len(self._edges),
            "watches": sum(len(edge.watched) for edge in self._edges.values()),
            "fanout_waiting": sum(len(edge.outgoing) for edge in self._edges.values()),
            "deliveries": counters.deliveries,
            "edge_deliveries": counters.edge_deliveries,
            "fanout_batches": counters.batches,
            "pushes_refused": counters.pushes_refused,
            "moved_told": counters.moved_told,
        }
