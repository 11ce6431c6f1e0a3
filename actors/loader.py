"""The loader: claims keys that become active, and fetches the facts that machines ask for.

Runs a bounded number of its own tasks over a queue of activations, and one for each of a bounded number of sessions,
whose claims are joined (session_claims.py); the rest of the host never waits for storage. It promises that each job
ends in exactly one of `loaded`, `load_failed` and `fetched`. What a key needs is in claims.py, what a fact needs in
fact_sources.py.
"""

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from actors.activation import Activation, Item
from actors.claims import claim
from actors.effects import Machine
from actors.fact_sources import FactSources
from actors.facts import Fact
from actors.limits import HostLimits
from actors.ports import HostPorts
from actors.session_claims import SessionClaims
from cluster.kernel.errors import INTERNAL, MOVED, UNAVAILABLE, FlowError
from cluster.kernel.ids import KeyKind
from cluster.kernel.tasks import TaskOwner

_log = logging.getLogger("flow.actors")

_MOST_DOUBLINGS: Final = 4

Wanted = Sequence[tuple[Item, Sequence[Fact]]]
"""Commands and the facts each still needs; the first command is the one that cannot wait."""


class LoadOutcome(Protocol):
    def loaded(self, activation: Activation, machine: Machine) -> None: ...

    def load_failed(self, activation: Activation, error: FlowError) -> None: ...

    def fetched(self, activation: Activation) -> None: ...


class Loader:
    """`may_claim` says whether this host may still take keys: one that was replaced must not fence its successor."""

    def __init__(
        self,
        ports: HostPorts,
        sources: FactSources,
        limits: HostLimits,
        tasks: TaskOwner,
        may_claim: Callable[[], bool],
    ) -> None:
        self._ports = ports
        self._may_claim = may_claim
        self._sessions = SessionClaims(ports.notifications, tasks, may_claim)
        self._sources = sources
        self._limits = limits
        self._tasks = tasks
        self._jobs: deque[tuple[Activation, Wanted | None]] = deque()
        self._workers = 0
        self._sessions_loading = 0
        self._outcome: LoadOutcome
        self.activations = 0
        self.failures = 0
        self.facts = 0

    def connect(self, outcome: LoadOutcome) -> None:
        self._outcome = outcome

    def load(self, activation: Activation) -> None:
        """Claim the key and build its machine."""
        is_session = activation.kind is KeyKind.USER
        if is_session and self._sessions_loading < self._limits.concurrent_session_loads:
            self._sessions_loading += 1
            _ = self._tasks.start("load session", self._load_session(activation))
        else:
            self._add(activation, None)

    async def _load_session(self, activation: Activation) -> None:
        try:
            await self._run(activation, None)
        finally:
            self._sessions_loading -= 1

    def fetch(self, activation: Activation, wanted: Wanted) -> None:
        """Find these facts and put them on their items."""
        self._add(activation, wanted)

    def _add(self, activation: Activation, wanted: Wanted | None) -> None:
        # At most one job an activation, so the roster's bound is this queue's.
        self._jobs.append((activation, wanted))
        if self._workers < self._limits.concurrent_loads:
            self._workers += 1
            _ = self._tasks.start("load", self._work())

    async def _work(self) -> None:
        try:
            while self._jobs:
                await self._run(*self._jobs.popleft())
        finally:
            self._workers -= 1

    async def _run(self, activation: Activation, wanted: Wanted | None) -> None:
        try:
            if wanted is None:
                await self._load(activation)
            else:
                await self._fetch(activation, wanted)
        except Exception:  # noqa: BLE001 - logged with its trace; whoever waits is told
            self.failures += 1
            _log.exception("%s cannot be loaded", activation.name)
            self._outcome.load_failed(activation, FlowError(INTERNAL))

    # --- claiming -----------------------------------------------------------------------------------------------------

    async def _load(self, activation: Activation) -> None:
        try:
            await self._give_way(activation)
            machine = await self._claim(activation)
        except FlowError as error:
            self.failures += 1
            self._outcome.load_failed(activation, error)
        else:
            self.activations += 1
            self._outcome.loaded(activation, machine)

    async def _give_way(self, activation: Activation) -> None:
        """Two owners that claim from each other without a pause would both write nothing for ever."""
        tries = activation.inbox[0].attempts if activation.inbox else 0
        if tries > 1:
            most = self._limits.load_backoff_s * 2 ** min(tries - 2, _MOST_DOUBLINGS)
            await asyncio.sleep(random.uniform(0, most))  # noqa: S311 - jitter, not a secret

    async def _claim(self, activation: Activation) -> Machine:
        delay = self._limits.load_backoff_s
        for _ in range(self._limits.load_attempts - 1):
            try:
                return await self._claim_once(activation)
            except FlowError as error:
                if error.kind is not UNAVAILABLE:
                    raise
            await asyncio.sleep(delay)
            delay *= 2
        return await self._claim_once(activation)

    async def _claim_once(self, activation: Activation) -> Machine:
        if not self._may_claim():
            raise FlowError(MOVED)
        return await claim(activation.key, self._ports, self._sessions, self._limits.rooms)

    # --- facts --------------------------------------------------------------------------------------------------------

    async def _fetch(self, activation: Activation, wanted: Wanted) -> None:
        facts = list(dict.fromkeys(fact for _, needs in wanted for fact in needs))
        self.facts += len(facts)
        found: dict[Fact, Any] = {}
        if len(facts) == 1:
            await self._find(facts[0], found)
        else:
            async with asyncio.TaskGroup() as group:
                for fact in facts:
                    group.create_task(self._find(fact, found))
        for index, (item, needs) in enumerate(wanted):
            errors = [found[fact] for fact in needs if isinstance(found[fact], FlowError)]
            if not errors:
                item.facts = {**item.facts, **{fact: found[fact] for fact in needs}}
                item.rows_decided = activation.rows_decided
            elif index == 0:
                item.error = errors[0]  # the others ask again when their turn comes
        self._outcome.fetched(activation)

    async def _find(self, fact: Fact, found: dict[Fact, Any]) -> None:
        try:
            found[fact] = await self._sources.find(fact)
        except FlowError as error:
            found[fact] = error
        except Exception:  # noqa: BLE001 - logged with its trace; whoever waits is told
            _log.exception("%s cannot be found", fact)
            found[fact] = FlowError(INTERNAL)

    def statistics(self) -> dict[str, int]:
        return {
            "loads_queued": len(self._jobs),
            "loads_running": self._workers + self._sessions_loading,
            "activations": self.activations,
            "load_failures": self.failures,
            "facts_fetched": self.facts,
            **self._sessions.statistics(),
        }
