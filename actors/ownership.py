"""Which shards this host may serve: by the newest view it was given, and for how long it may believe that view.

The host asks before it activates a key, before it decides and before it answers. What storage holds needs none of this:
the epochs and unique positions there decide between two owners. What is answered from memory alone does, so that an
owner which stood still or was cut off does not speak for keys that another has taken over meanwhile.
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
        self._was_member = False
        self._is_out = self._is_replaced = False
        self.view = View()

    def apply(self, view: View) -> frozenset[int]:
        """Take over a newer view; an older or equal one changes nothing. Returns the shards this takes away."""
        if view.version <= self.view.version:
            return frozenset()
        self.view = view
        is_me = self._is_member(view)
        self._is_out = self._was_member and not is_me
        self._is_replaced = self._is_out and view.member(self._name) is not None
        self._was_member = self._was_member or is_me
        before = self._shards
        self._shards = frozenset(view.shards_of(self._name)) if is_me else frozenset()
        return before - self._shards

    def _is_member(self, view: View) -> bool:
        me = view.member(self._name)
        return me is not None and me.incarnation == self._incarnation

    @property
    def is_out(self) -> bool:
        """Whether this incarnation was a member and is none any more. It never becomes one again. One that left may
        finish what it had decided; one that was replaced may not."""
        return self._is_out

    def read(self, view: View, asked_at: float, lease_s: float) -> None:
        """Storage answered with `view` to a question asked at `asked_at`: if this incarnation is a member of it, it may
        speak for `lease_s` from then on."""
        if self._is_member(view):
            self.believe_until(asked_at + lease_s)

    def believe_until(self, monotonic: float) -> None:
        """The view may be trusted until then; without another call nothing is served after it. A process that stood
        still past it finds out before it answers anything."""
        self._believed_until = monotonic

    def is_believed(self, now: float) -> bool:
        return now <= self._believed_until and not self._is_replaced

    def owns(self, shard: int) -> bool:
        return shard in self._shards

    def statistics(self) -> dict[str, int]:
        return {"shards": len(self._shards), "view_version": self.view.version}
