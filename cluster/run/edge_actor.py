"""The edge as a process of the cluster. Ray makes it; everything it does is in `EdgeParts`."""

from collections.abc import Callable

from cluster.run.edge_parts import EdgeParts
from cluster.run.member_process import MemberProcess, Parts
from storage.open import Storage


class EdgeActor(MemberProcess):
    """One edge process."""

    def _make_parts(self, name: str, storage: Storage, on_fenced: Callable[[], None]) -> Parts:
        del on_fenced  # an edge holds nothing that another could contradict: it serves on until it is stopped
        return EdgeParts(self.plan, name, self.incarnation, storage)
