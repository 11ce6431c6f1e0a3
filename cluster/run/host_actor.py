"""The host as a process of the cluster. Ray makes it; everything it does is in `HostParts`."""

from collections.abc import Callable

from actors.session_epochs import SessionEpochs
from cluster.run.host_parts import HostParts
from cluster.run.member_process import MemberProcess, Parts
from cluster.run.process import ProcessPlan
from storage.open import Storage


class HostActor(MemberProcess):
    """One host process."""

    def __init__(self, plan: ProcessPlan) -> None:
        self._epochs = SessionEpochs()
        super().__init__(plan)

    def _make_parts(self, name: str, storage: Storage, on_fenced: Callable[[], None]) -> Parts:
        return HostParts(self.plan, name, self.incarnation, storage, on_fenced, self._epochs)
