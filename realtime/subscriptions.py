"""Which connections of this edge watch which keys, indexed both ways, and what to do with each delivery.

The namespaces join and leave here, `Deliveries` brings what hosts push, `Recovery` asks for positions and brings the
answers. Pure and synchronous: what it wants done it tells its `Outlet`. It promises what `WatchedKey` promises for each
key, that a disconnect costs the connection's own keys, that the last watcher's leaving is told and all is bounded.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic

from actors.messages import Delivery, Position, Resumed
from cluster.kernel.errors import LIMIT_REACHED, OVERLOADED, TABLE, UNAVAILABLE, FlowError
from realtime.limits import EdgeLimits
from realtime.watched import C, HoldBudget, Joiner, JoinOverrun, Outlet, StaleJoin, WatchedKey

_RETRY_MS = 500


@dataclass(frozen=True, slots=True)
class JoinTicket(Generic[C]):
    """A join under way. Give it back with `complete` or `fail`, once."""

    connection: C
    watched: WatchedKey[C]
    joiner: Joiner


class Subscriptions(Generic[C]):
    """Keys and their watchers on one edge."""

    def __init__(self, outlet: Outlet[C], limits: EdgeLimits) -> None:
        self._outlet = outlet
        self._limits = limits
        self._budget = HoldBudget(
            limits.max_held_deliveries, limits.max_held_deliveries_per_key, limits.max_joiner_deliveries
        )
        self._keys: dict[str, WatchedKey[C]] = {}
        self._of: dict[C, set[str]] = {}
        self._strays = 0
        self._delivered = 0
        self._duplicates = 0

    # --- joining and leaving ------------------------------------------------------------------------------------------

    def begin_join(self, connection: C, key: str, limit: int | None = None) -> JoinTicket[C]:
        """Before the join is sent to the key's host. Raises FlowError LIMIT_REACHED or OVERLOADED."""
        mine = self._of.get(connection)
        if mine is not None and key not in mine and len(mine) >= (limit or self._limits.max_rooms_per_connection):
            raise FlowError(LIMIT_REACHED, "This connection has joined as many as it may. Leave one first.")
        watched = self._keys.get(key)
        if watched is None:
            if len(self._keys) >= self._limits.max_keys:
                raise FlowError(OVERLOADED, retry_after_ms=_RETRY_MS)
            watched = self._keys[key] = WatchedKey(key, self._outlet, self._budget)
        if mine is None:
            mine = self._of[connection] = set()
        mine.add(key)
        return JoinTicket(connection, watched, watched.begin_join(connection))

    def complete(self, ticket: JoinTicket[C], epoch: int, seq: int) -> list[Delivery]:
        """The host said yes at this position. Returns what to send the connection right after its answer.

        Raises FlowError UNAVAILABLE when an owner that is one no more answered, OVERLOADED when too much came
        meanwhile.
        """
        if self._keys.get(ticket.watched.key) is None:
            # Everyone left before the host said yes; it may have heard of that first.
            self._outlet.unwatch(ticket.watched.key)
            return []
        try:
            return ticket.watched.complete_join(ticket.connection, ticket.joiner, epoch, seq)
        except StaleJoin:
            self._tidy(ticket)
            raise FlowError(UNAVAILABLE, retry_after_ms=_RETRY_MS) from None
        except JoinOverrun:
            self._tidy(ticket)
            raise FlowError(OVERLOADED, retry_after_ms=_RETRY_MS) from None

    def fail(self, ticket: JoinTicket[C]) -> None:
        """The host said no, or nothing. A connection that had joined before stays joined."""
        ticket.watched.fail_join(ticket.connection, ticket.joiner)
        self._tidy(ticket)

    def join_known(self, connection: C, key: str) -> bool:
        """Join a key without asking its host, if somebody here has; only for keys without positions (topics)."""
        watched = self._keys.get(key)
        if watched is None or watched.position is None:
            return False
        ticket = self.begin_join(connection, key, self._limits.max_topics_per_connection)
        self.complete(ticket, *watched.position)
        return True

    def leave(self, connection: C, key: str) -> bool:
        """True when the connection had joined, or was joining."""
        mine = self._of.get(connection)
        if mine is None or key not in mine:
            return False
        mine.remove(key)
        if not mine:
            del self._of[connection]
        self._remove(connection, key)
        return True

    def disconnect(self, connection: C) -> None:
        for key in self._of.pop(connection, ()):
            self._remove(connection, key)

    def _remove(self, connection: C, key: str) -> None:
        watched = self._keys[key]
        watched.remove(connection)
        self._drop_if_idle(watched)

    def _tidy(self, ticket: JoinTicket[C]) -> None:
        """After a failed join: the connection's index, and the key if nobody is left."""
        watched, connection = ticket.watched, ticket.connection
        if self._keys.get(watched.key) is not watched:
            return
        if connection not in watched:
            mine = self._of.get(connection)
            if mine is not None:
                mine.discard(watched.key)
                if not mine:
                    del self._of[connection]
        self._drop_if_idle(watched)

    def _drop_if_idle(self, watched: WatchedKey[C]) -> None:
        if watched.is_idle:
            watched.forget()
            self._duplicates += watched.duplicates
            del self._keys[watched.key]
            self._outlet.unwatch(watched.key)

    # --- deliveries ---------------------------------------------------------------------------------------------------

    def deliver(self, delivery: Delivery) -> None:
        watched = self._keys.get(delivery.key)
        if watched is None:
            # A host that missed our leaving, or answered a join we gave up: tell it (again).
            self._strays += 1
            self._outlet.unwatch(delivery.key)
            return
        self._delivered += 1
        watched.deliver(delivery)

    # --- resuming -----------------------------------------------------------------------------------------------------

    def want_resume(self, key: str) -> None:
        """Deliveries of this key may have been lost."""
        watched = self._keys.get(key)
        if watched is not None:
            watched.want_resume()

    def begin_resume(self, keys: Iterable[str]) -> list[Position]:
        """Positions to ask with, for those keys that can be asked for now."""
        positions = (watched.begin_resume() for key in keys if (watched := self._keys.get(key)) is not None)
        return [position for position in positions if position is not None]

    def resumed(self, item: Resumed) -> bool:
        """A host's answer for one key. False when the key must be asked for again."""
        watched = self._keys.get(item.key)
        if watched is None:
            return True
        if not item.error:
            return watched.resumed(item)
        kind = TABLE.get(item.error)
        if kind is None or kind.retryable:
            watched.resume_failed()
            return False
        watched.abandon()
        for connection in watched.watchers():
            self.leave(connection, watched.key)
        return True

    def resume_failed(self, key: str) -> None:
        watched = self._keys.get(key)
        if watched is not None:
            watched.resume_failed()

    # --- looking ------------------------------------------------------------------------------------------------------

    def is_joined(self, connection: C, key: str) -> bool:
        """Joined, or joining."""
        return key in self._of.get(connection, ())

    def connections_of(self, key: str) -> list[C]:
        """Who has joined a key, or is joining it."""
        watched = self._keys.get(key)
        return [] if watched is None else watched.connections()

    def __contains__(self, key: str) -> bool:
        return key in self._keys

    def keys(self) -> list[str]:
        return list(self._keys)

    def statistics(self) -> dict[str, float]:
        return {
            "keys": len(self._keys),
            "connections_joined": len(self._of),
            "deliveries": self._delivered,
            "deliveries_held": self._budget.held,
            "deliveries_stray": self._strays,
            "deliveries_repeated": self._duplicates + sum(watched.duplicates for watched in self._keys.values()),
        }
