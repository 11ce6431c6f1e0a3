"""The epochs of user sessions, which their owner makes by itself: from the view it owns them under, and a count.

Nothing in storage is fenced by a session's epoch. Edges tell a newer owner's state from an older one's by it, so each
must be higher than all that any owner made of that session before. Versions of the view only rise, under one version a
shard has one owner, and a process counts what it makes for a shard under one version: the later epoch is the higher.
No I/O. One object serves the whole life of a process, whatever names it takes.

An epoch has 53 bits, as many as every reader of numbers holds exactly: 26 for the version (a change a second for two
years), 27 for the count (134 million sessions of one shard loaded between two changes of the view). Past either limit
sessions are refused; the next view begins the count anew. Even the lowest is above what earlier builds, which counted
in storage, can have reached.
"""

from typing import Final

from cluster.kernel.errors import MOVED, UNAVAILABLE, FlowError

VERSION_BITS: Final = 26
COUNT_BITS: Final = 27


def epoch_of(version: int, count: int) -> int:
    """Ordered as (version, count). Raises FlowError UNAVAILABLE for what does not fit; the first version is 1."""
    if not 0 < version < 1 << VERSION_BITS or not 0 <= count < 1 << COUNT_BITS:
        raise FlowError(UNAVAILABLE, "No more epochs can be made of this session.")
    return version << COUNT_BITS | count


class SessionEpochs:
    """What one process has made under the newest view it made any under."""

    def __init__(self) -> None:
        self._version = 0
        self._made: dict[int, int] = {}
        """How many, by shard."""

    def next(self, version: int, shard: int) -> int:
        """For a session of this shard, which the process owns in the view of this version: higher than all before.

        Raises FlowError MOVED for a view older than one that was used, UNAVAILABLE as `epoch_of`.
        """
        if version < self._version:
            raise FlowError(MOVED)
        if version > self._version:
            self._version = version
            self._made.clear()
        count = self._made.get(shard, 0)
        epoch = epoch_of(version, count)
        self._made[shard] = count + 1
        return epoch

    def statistics(self) -> dict[str, int]:
        return {"session_epochs_of_a_shard": max(self._made.values(), default=0)}
