"""What hosts push, brought to the sockets: decoded once, encoded once per event, sent to those who joined.

The edge hands it every pushed batch. It is the `Outlet` of the subscriptions: it also tells hosts, once per loop turn,
of keys nobody here watches any more, and passes on what must be resumed. It promises that a connection gets an event
only in the namespace of the key's kind and that a skipped connection does not get it. It holds nothing back.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable
from typing import Final

import msgspec

from actors.messages import NOTE_UNWATCH, Batch, Delivery, Unwatch
from cluster.kernel.errors import FlowError
from cluster.kernel.ids import Key
from cluster.kernel.wire import decode
from realtime.engine.port import Connection, EncodedEvent, Engine
from realtime.offsets import Offsets, head_of
from realtime.router import Links
from realtime.subscriptions import Subscriptions

_NAMESPACES: Final = {"chat": "/chat", "event": "/events", "topic": "/events", "user": "/notifications"}
_CHAT_PREFIX: Final = "chat/"
_KEYS_A_NOTE: Final = 256


def namespace_of(key: str) -> str:
    """The namespace in which the deliveries of a key are told."""
    return _NAMESPACES[key[: key.index("/")]]


class Deliveries:
    """`engine` and `subscriptions` are set by the edge, which makes all three for each other."""

    engine: Engine
    subscriptions: Subscriptions[Connection]

    def __init__(self, links: Links, resume: Callable[[str], None]) -> None:
        self._links = links
        self._resume = resume
        self._tracked: dict[Connection, Offsets] = {}
        self._intercepted: dict[str, Callable[[Delivery], None]] = {}
        self.recoveries: Counter[str] = Counter()
        self._left: set[str] = set()
        self._is_due = False
        self._batches = 0
        self._events = 0
        self._receivers = 0

    def pushed(self, body: msgspec.Raw) -> None:
        """A batch from a host. Raises FlowError INVALID_REQUEST when it is none."""
        self._batches += 1
        for delivery in decode(body, Batch).deliveries:
            hear = self._intercepted.get(delivery.name)
            if hear is not None:
                hear(delivery)
            else:
                self.subscriptions.deliver(delivery)

    def intercept(self, name: str, hear: Callable[[Delivery], None]) -> None:
        """Events of this name are for the edge itself and go to no socket."""
        self._intercepted[name] = hear

    # --- connection state recovery ------------------------------------------------------------------------------------

    def track(self, connection: Connection, offsets: Offsets) -> None:
        """From now on this connection's chat events carry where it is; until `untrack`."""
        self._tracked[connection] = offsets

    def untrack(self, connection: Connection) -> None:
        self._tracked.pop(connection, None)

    def offsets_of(self, connection: Connection) -> Offsets | None:
        return self._tracked.get(connection)

    # --- the outlet of the subscriptions ------------------------------------------------------------------------------

    def send(self, connections: Collection[Connection], delivery: Delivery) -> None:
        receivers: Iterable[Connection] = connections
        if delivery.skip_connection or delivery.skip_topics:
            receivers = [connection for connection in connections if not self._skips(connection, delivery)]
        self._events += 1
        self._receivers += len(connections)
        event = self.engine.encode(namespace_of(delivery.key), delivery.name, delivery.body)
        if self._tracked and delivery.seq and delivery.key.startswith(_CHAT_PREFIX):
            receivers = self._send_tracked(receivers, delivery, event)
        self.engine.broadcast(receivers, event)

    def _send_tracked(
        self, receivers: Iterable[Connection], delivery: Delivery, event: EncodedEvent
    ) -> list[Connection]:
        """Send to those whose clients keep offsets, each with its own; returns the others.

        All who are in this room alone have the same offset, so they get the same bytes.
        """
        others, alike = [], []
        room_id, seq = delivery.key.removeprefix(_CHAT_PREFIX), delivery.seq
        head, tracked = head_of(room_id), self._tracked
        for connection in receivers:
            offsets = tracked.get(connection)
            if offsets is None:
                others.append(connection)
            elif offsets.alone_in == head:
                offsets.alone_at = seq
                alike.append(connection)
            else:
                connection.send(event.with_offset(offsets.move(room_id, seq)))
        if alike:
            self.engine.broadcast(alike, event.with_offset(f"{head}{seq}"))
        return others

    def resume(self, key: str) -> None:
        self._resume(key)

    def unwatch(self, key: str) -> None:
        self._left.add(key)
        if not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_soon(self._tell_left)

    # ------------------------------------------------------------------------------------------------------------------

    def _skips(self, connection: Connection, delivery: Delivery) -> bool:
        if connection.id == delivery.skip_connection:
            return True
        joined = self.subscriptions.is_joined
        return any(joined(connection, f"topic/{topic}") for topic in delivery.skip_topics)

    def _tell_left(self) -> None:
        self._is_due = False
        left, self._left = self._left, set()
        by_host: defaultdict[int, list[str]] = defaultdict(list)
        links = {}
        for name in left:
            if name in self.subscriptions:
                continue  # somebody joined again meanwhile
            try:
                link = self._links.link_for(Key.parse(name))
            except FlowError:
                continue  # no host has it, so none watches it for us
            links[id(link)] = link
            by_host[id(link)].append(name)
        for identity, keys in by_host.items():
            for start in range(0, len(keys), _KEYS_A_NOTE):
                # A note that is lost is made up for: the next delivery of such a key is answered with another.
                links[identity].note(NOTE_UNWATCH, Unwatch(keys=tuple(keys[start : start + _KEYS_A_NOTE])))

    def statistics(self) -> dict[str, float]:
        return {
            "batches": self._batches,
            "events_sent": self._events,
            "event_receivers": self._receivers,
            "connections_recoverable": len(self._tracked),
            **{f"connections_{what}": count for what, count in self.recoveries.items()},
        }
