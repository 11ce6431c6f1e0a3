"""Which shards this host may serve: by the newest view it was given, and for how long it may believe that view.

The host asks before it activates a key. This is a courtesy that saves work, never the guarantee: two hosts may believe
the same thing for a while, and the epochs and unique positions in storage decide between them.
"""

from cluster.kernel.clock import Clock
from cluster.placement.view import View


class Ownership:
    def __init__(self, name: str, incarnation: str, clock: Clock) -> None:
        self._name = name
        self._incarnation = incarnation
        self._clock = clock
        self._shards: frozenset[int] = frozenset()
        self._believed_until = float("inf")
        self.view = View()

    def apply(self, view: View) -> frozenset[int]:
        """Take over a newer view; an older or equal one changes nothing. Returns the shards this takes away."""
        if view.version <= self.view.version:
            return frozenset()
        self.view = view
        me = view.member(self._name)
        is_me = me is not None and me.incarnation == self._incarnation
        before = self._shards
        self._shards = frozenset(view.shards_of(self._name)) if is_me else frozenset()
        return before - self._shards

    def believe_until(self, monotonic: float) -> None:
        """The view may be trusted until then; without another call nothing is served after it. A process that stood
        still past it finds out before it answers anything."""
        self._believed_until = monotonic

    def is_believed(self, now: float) -> bool:
        return now <= self._believed_until

    def owns(self, shard: int) -> bool:
        return shard in self._shards

    def statistics(self) -> dict[str, int]:
        return {"shards": len(self._shards), "view_version": self.view.version}
