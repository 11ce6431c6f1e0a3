"""One key as this edge watches it: where its deliveries stand, and which connections want them from where.

Owned and driven by `Subscriptions`. Pure and synchronous. It promises, for each connection, every delivery after the
position its join was answered with, once and in order: what comes early is held, what comes twice is dropped, a hole is
asked for, and what cannot be had any more is said to be so. It never decides where deliveries come from or go to.

A connection is *settled* when it has everything up to the key's position, *ahead* when its join was answered with a
later position than has arrived here, and *joining* while its join is under way. Positions compare by `seq` alone for a
chat room, whose messages are numbered without gaps for good, and by (epoch, seq) for everything else.
"""

from collections.abc import Collection
from typing import Final, Generic, Protocol, TypeVar

import msgspec

from actors.messages import Delivery, Position, Resumed

C = TypeVar("C")
C_contra = TypeVar("C_contra", contravariant=True)

Rank = tuple[int, int]

_CHAT_PREFIX: Final = "chat/"
_MAX_FRUITLESS_RESUMES: Final = 3
_MAX_STALE_ANSWERS: Final = 10


class Outlet(Protocol[C_contra]):
    """What watching asks of the edge. Called synchronously; must not call back."""

    def send(self, connections: Collection[C_contra], delivery: Delivery) -> None: ...

    def resume(self, key: str) -> None:
        """Deliveries of this key are missing, or may be: ask its host."""

    def unwatch(self, key: str) -> None:
        """Nobody here watches this key any more."""


class Joiner:
    """A join under way. `asks` joins of one connection may be in flight at once."""

    __slots__ = ("asks", "dropped", "floor", "kept", "previous")

    def __init__(self, floor: Rank, previous: Rank | None) -> None:
        self.asks = 1
        self.floor = floor
        self.previous = previous
        self.kept: list[Delivery] = []
        self.dropped = False


class StaleJoin(Exception):
    """A join was answered from before what this edge has already seen: an owner that is one no more."""


class JoinOverrun(Exception):
    """More came during the join than is kept for one that waits."""


class HoldBudget:
    """How many deliveries all keys of an edge may hold back together."""

    __slots__ = ("held", "limit", "limit_per_joiner", "limit_per_key")

    def __init__(self, limit: int, limit_per_key: int, limit_per_joiner: int) -> None:
        self.limit = limit
        self.limit_per_key = limit_per_key
        self.limit_per_joiner = limit_per_joiner
        self.held = 0


class WatchedKey(Generic[C]):
    """One key's position and watchers."""

    __slots__ = (
        "_ahead",
        "_budget",
        "_by_epoch",
        "_fruitless",
        "_held",
        "_joiners",
        "_outlet",
        "_overflowed",
        "_recovering",
        "_resume_wanted",
        "_settled",
        "_stale_answers",
        "duplicates",
        "key",
        "position",
    )

    def __init__(self, key: str, outlet: Outlet[C], budget: HoldBudget) -> None:
        self.key = key
        self.position: tuple[int, int] | None = None
        self.duplicates = 0
        self._outlet = outlet
        self._budget = budget
        self._by_epoch = not key.startswith(_CHAT_PREFIX)
        self._settled: set[C] = set()
        self._ahead: dict[C, Rank] = {}
        self._joiners: dict[C, Joiner] = {}
        self._held: list[Delivery] = []
        self._overflowed = False
        self._recovering = False
        self._resume_wanted = False
        self._fruitless = 0
        self._stale_answers = 0

    # --- watchers -----------------------------------------------------------------------------------------------------

    @property
    def is_idle(self) -> bool:
        return not (self._settled or self._ahead or self._joiners)

    def __contains__(self, connection: C) -> bool:
        return connection in self._settled or connection in self._ahead or connection in self._joiners

    def watchers(self) -> list[C]:
        """Everyone who has joined, joins under way aside."""
        return [*self._settled, *self._ahead]

    def connections(self) -> list[C]:
        """Everyone who has joined or is joining."""
        return [*self.watchers(), *self._joiners]

    def begin_join(self, connection: C) -> Joiner:
        """From now on, keep for this connection what arrives, until its join is answered."""
        joiner = self._joiners.get(connection)
        if joiner is not None:
            joiner.asks += 1
            return joiner
        previous = self._ahead.pop(connection, None)
        if connection in self._settled:
            self._settled.remove(connection)
            previous = self._rank_here()
        joiner = self._joiners[connection] = Joiner(self._rank_here(), previous)
        return joiner

    def complete_join(self, connection: C, joiner: Joiner, epoch: int, seq: int) -> list[Delivery]:
        """The join was answered with this position. Returns what to send the connection right after its answer.

        Raises StaleJoin or JoinOverrun, after which the join counts as failed.
        """
        if self._joiners.get(connection) is not joiner:
            return []
        at = self._rank(epoch, seq)
        if self.position is None:
            self.position = (epoch, seq)
            for other in self._joiners.values():
                other.floor = at
            self._drain()
            if self._resume_wanted:
                self._outlet.resume(self.key)  # wanted before there was a position to ask with
        if self._by_epoch and at[0] > self._rank_here()[0]:
            self.want_resume()  # the others here are still in the older epoch
        if at < joiner.floor:
            self.fail_join(connection, joiner)
            self.want_resume()
            raise StaleJoin
        if joiner.asks > 1:
            # Another join of this connection is under way: what was kept waits for its answer.
            joiner.asks -= 1
            joiner.floor = joiner.previous = at
            return []
        if joiner.dropped and at < self._rank_here():
            self.fail_join(connection, joiner)
            raise JoinOverrun
        del self._joiners[connection]
        self._place(connection, max(at, self._rank_here()))
        return [delivery for delivery in joiner.kept if self._rank_of(delivery) > at]

    def fail_join(self, connection: C, joiner: Joiner) -> None:
        """The join failed. One who had joined before goes on as before, with what was kept meanwhile."""
        if self._joiners.get(connection) is not joiner:
            return
        joiner.asks -= 1
        if joiner.asks:
            return
        del self._joiners[connection]
        if joiner.previous is None:
            return
        if joiner.dropped:
            self._outlet.send((connection,), self._resync())
        else:
            for delivery in joiner.kept:
                if self._rank_of(delivery) > joiner.previous:
                    self._outlet.send((connection,), delivery)
        self._place(connection, max(joiner.previous, self._rank_here()))

    def remove(self, connection: C) -> None:
        self._settled.discard(connection)
        self._ahead.pop(connection, None)
        self._joiners.pop(connection, None)

    def forget(self) -> None:
        """Give back what is held; the key is watched no more."""
        self._budget.held -= len(self._held)
        self._held.clear()

    def _place(self, connection: C, reached: Rank) -> None:
        if reached > self._rank_here():
            self._ahead[connection] = reached
        else:
            self._settled.add(connection)

    # --- deliveries ---------------------------------------------------------------------------------------------------

    def deliver(self, delivery: Delivery) -> None:
        """One delivery from a host, in the order its link gave it."""
        if delivery.seq == 0:
            watchers = self.watchers()
            if watchers:
                self._outlet.send(watchers, delivery)
        elif self.position is None or self._recovering:
            self._hold(delivery)
        elif not self._take(delivery):
            self._hold(delivery)
            self.want_resume()

    def _take(self, delivery: Delivery) -> bool:
        """Apply it if it is next, drop it if it is old; False when something before it is missing."""
        assert self.position is not None
        rank, here = self._rank_of(delivery), self._rank_here()
        if rank <= here:
            self.duplicates += 1
            return True
        if rank != (here[0], here[1] + 1):
            return False
        self._fruitless = 0
        self._apply(delivery)
        return True

    def _apply(self, delivery: Delivery) -> None:
        """It is the next one, or a jump to where it stands: everyone who is not beyond it gets it."""
        self.position = (delivery.epoch, delivery.seq)
        here = self._rank_here()
        for joiner in self._joiners.values():
            if len(joiner.kept) < self._budget.limit_per_joiner:
                joiner.kept.append(delivery)
            else:
                joiner.dropped = True
        receivers = list(self._settled)
        for connection, reached in list(self._ahead.items()):
            if reached < here:
                receivers.append(connection)
            if reached <= here:
                del self._ahead[connection]
                self._settled.add(connection)
        if receivers:
            self._outlet.send(receivers, delivery)

    def _hold(self, delivery: Delivery) -> None:
        budget = self._budget
        if self.position is not None and self._rank_of(delivery) <= self._rank_here():
            self.duplicates += 1
        elif len(self._held) >= budget.limit_per_key or budget.held >= budget.limit:
            # What is kept are the oldest, so the next resume starts where they end.
            self._overflowed = True
        else:
            self._held.append(delivery)
            budget.held += 1

    def _drain(self) -> None:
        """Apply what was held as far as it follows; ask for what is missing in between or was not kept."""
        held = sorted(self._held, key=self._rank_of)
        self._budget.held -= len(held)
        self._held.clear()
        for index, delivery in enumerate(held):
            if not self._take(delivery):
                self._held = held[index:]
                self._budget.held += len(self._held)
                break
        if self._held or self._overflowed:
            self._overflowed = False
            self.want_resume()

    # --- resuming -----------------------------------------------------------------------------------------------------

    def want_resume(self) -> None:
        """Ask, once, for what may be missing. A key that has no position yet asks when its first join is answered."""
        if not self._resume_wanted:
            self._resume_wanted = True
            self._outlet.resume(self.key)

    def begin_resume(self) -> Position | None:
        """The position to resume from; deliveries are held until `resumed` or `resume_failed`. None: nothing to ask."""
        if self.position is None or self._recovering:
            return None
        self._resume_wanted = False
        self._recovering = True
        return Position(key=self.key, epoch=self.position[0], seq=self.position[1])

    def resume_failed(self) -> None:
        """The answer will not come; whoever asked will ask again without being told to."""
        self._recovering = False
        self._resume_wanted = True
        if self.position is not None:
            self._drain()

    def abandon(self) -> None:
        """The host says that the key is no more: people in a chat are told to start anew, which tells them why."""
        self._recovering = False
        if not self._by_epoch and self.position is not None and self.watchers():
            self._outlet.send(self.watchers(), self._resync())

    def resumed(self, item: Resumed) -> bool:
        """The host's answer: everything missed, or a new start. False when it was an owner's that is one no more: ask
        again."""
        if self.position is None or not self._recovering:
            return True
        if self._is_stale(item) and self._stale_answers < _MAX_STALE_ANSWERS:
            self._stale_answers += 1
            self.resume_failed()
            return False
        self._stale_answers = 0
        self._fruitless += 1
        self._recovering = False
        whole = not item.reset and all(self._take(delivery) for delivery in item.missed)
        if not whole or self._rank(item.epoch, item.seq) > self._rank_here():
            self._jump(item)
        elif not self._by_epoch:
            self.position = (item.epoch, self.position[1])
        if self._fruitless > _MAX_FRUITLESS_RESUMES and self._held:
            self._skip_to_held()
        self._drain()
        return True

    def _is_stale(self, item: Resumed) -> bool:
        """It comes from before what this edge has seen of a newer owner."""
        assert self.position is not None
        return item.epoch < self.position[0] and self._rank(item.epoch, item.seq) < self._rank_here()

    def _jump(self, item: Resumed) -> None:
        """Start anew at the host's position: with its snapshot where there is one, else everyone is told to resync."""
        there = self._rank(item.epoch, item.seq)
        if there < self._rank_here():
            self._settled.update(self._ahead)
            self._ahead.clear()
            for joiner in self._joiners.values():
                joiner.floor = min(joiner.floor, there)
                joiner.previous = None if joiner.previous is None else min(joiner.previous, there)
        self.position = (item.epoch, item.seq)
        if self._by_epoch:
            for delivery in item.missed:
                self._apply(msgspec.structs.replace(delivery, epoch=item.epoch, seq=item.seq))
        else:
            self._apply(self._resync())

    def _skip_to_held(self) -> None:
        """The host does not have what is missing before the deliveries it has sent: go on from those."""
        first = min(self._held, key=self._rank_of)
        self.position = (first.epoch, first.seq - 1)
        if not self._by_epoch:
            self._apply(self._resync())

    def _resync(self) -> Delivery:
        assert self.position is not None
        epoch, seq = self.position
        body = {"roomId": self.key.removeprefix(_CHAT_PREFIX), "epoch": epoch, "seq": seq}
        return Delivery(key=self.key, name="chat:resync", body=body, epoch=epoch, seq=seq)

    # --- ranks --------------------------------------------------------------------------------------------------------

    def _rank(self, epoch: int, seq: int) -> Rank:
        return (epoch if self._by_epoch else 0, seq)

    def _rank_of(self, delivery: Delivery) -> Rank:
        return (delivery.epoch if self._by_epoch else 0, delivery.seq)

    def _rank_here(self) -> Rank:
        return (0, 0) if self.position is None else self._rank(*self.position)
