"""The loader: claims keys that become active, and fetches the facts that machines ask for.

Two lanes, each a queue and a bounded number of tasks: rooms and events that are claimed by themselves, few at once, and
facts. Chat rooms that are wanted together are claimed by the batch (room_claims.py), sessions are read by the batch
(session_loads.py). The rest of the host never waits for storage. It promises that each job ends in exactly one of
`loaded`, `load_failed` and `fetched`. What a key needs is in claims.py, what a fact needs in fact_sources.py.
"""

import asyncio
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final, Protocol

from actors.activation import Activation, Item
from actors.chat_room import ChatRoom
from actors.claims import claim
from actors.effects import Machine
from actors.fact_sources import FactSources
from actors.facts import Fact
from actors.limits import HostLimits
from actors.ports import HostPorts
from actors.room_claims import RoomClaims
from actors.session_loads import SessionLoads
from cluster.kernel.attempt import attempt
from cluster.kernel.errors import INTERNAL, MOVED, UNAVAILABLE, FlowError
from cluster.kernel.ids import KeyKind, parse_room
from cluster.kernel.tasks import TaskOwner
from storage.records import RoomHead

_log = logging.getLogger("flow.actors")

_MOST_DOUBLINGS: Final = 4

Wanted = Sequence[tuple[Item, Sequence[Fact]]]
"""Commands and the facts each still needs; the first command is the one that cannot wait."""


class LoadOutcome(Protocol):
    def loaded(self, activation: Activation, machine: Machine) -> None: ...

    def load_failed(self, activation: Activation, error: FlowError) -> None: ...

    def fetched(self, activation: Activation) -> None: ...


class Lane:
    """Jobs, and at most `limit` tasks that do them in the order they came. An activation has at most one job, so the
    roster's bound is the queue's."""

    def __init__(self, name: str, limit: int, tasks: TaskOwner) -> None:
        self._name = name
        self._limit = limit
        self._tasks = tasks
        self._jobs: deque[Callable[[], Awaitable[None]]] = deque()
        self.running = 0

    def __len__(self) -> int:
        return len(self._jobs)

    def add(self, job: Callable[[], Awaitable[None]]) -> None:
        """`job` must not raise."""
        self._jobs.append(job)
        if self.running < self._limit:
            self.running += 1
            _ = self._tasks.start(self._name, self._work())

    async def _work(self) -> None:
        try:
            while self._jobs:
                await self._jobs.popleft()()
        finally:
            self.running -= 1


def _tries(activation: Activation) -> int:
    """How often what waits first was decided in vain."""
    return activation.inbox[0].attempts if activation.inbox else 0


class Loader:
    """`may_claim` says whether this host may still take keys: one that was replaced must not fence its successor.
    `next_epoch` makes the epoch of a session of the shard it is given."""

    def __init__(
        self,
        ports: HostPorts,
        sources: FactSources,
        limits: HostLimits,
        tasks: TaskOwner,
        may_claim: Callable[[], bool],
        next_epoch: Callable[[int], int],
    ) -> None:
        self._ports = ports
        self._may_claim = may_claim
        self._sessions = SessionLoads(ports.notifications, limits, tasks, may_claim, next_epoch)
        self._sources = sources
        self._limits = limits
        self._claims = Lane("claim", limits.concurrent_claims, tasks)
        self._rooms = RoomClaims(ports, limits, tasks, may_claim, self)
        self._fetches = Lane("fetch", limits.concurrent_fetches, tasks)
        self._outcome: LoadOutcome
        self.activations = 0
        self.failures = 0
        self.facts = 0

    def connect(self, outcome: LoadOutcome) -> None:
        self._outcome = outcome
        self._sessions.connect(outcome)

    def load(self, activation: Activation) -> None:
        """Claim the key and build its machine."""
        if activation.kind is KeyKind.USER:
            self._sessions.load(activation)
        elif activation.kind is KeyKind.CHAT and _tries(activation) <= 1:
            self._rooms.load(activation)
        else:
            self.claim_alone(activation)

    def fetch(self, activation: Activation, wanted: Wanted) -> None:
        """Find these facts and put them on their items."""
        self._fetches.add(partial(self._run, activation, partial(self._fetch, activation, wanted)))

    async def _run(self, activation: Activation, job: Callable[[], Awaitable[None]]) -> None:
        try:
            await job()
        except Exception:  # noqa: BLE001 - logged with its trace; whoever waits is told
            self.failures += 1
            _log.exception("%s cannot be loaded", activation.name)
            self._outcome.load_failed(activation, FlowError(INTERNAL))

    # --- claiming -----------------------------------------------------------------------------------------------------

    @property
    def has_time(self) -> bool:
        """Whether a key that is to be claimed alone would be begun at once."""
        return self._claims.running < self._limits.concurrent_claims

    def claim_alone(self, activation: Activation) -> None:
        self._claims.add(partial(self._run, activation, partial(self._load, activation)))

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

    def claimed(self, activation: Activation, head: RoomHead) -> None:
        """As one of many. One that fails harms no other."""
        self.activations += 1
        if attempt("a room that was claimed", self._become, activation, head) is not None:
            self.failures += 1
            _ = attempt("refusing a room", self._outcome.load_failed, activation, FlowError(INTERNAL))

    def _become(self, activation: Activation, head: RoomHead) -> None:
        self._outcome.loaded(activation, ChatRoom(parse_room(head.room_id), head, self._limits.rooms))

    async def _give_way(self, activation: Activation) -> None:
        """Two owners that claim from each other without a pause would both write nothing for ever."""
        tries = _tries(activation)
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
        return await claim(activation.key, self._ports, self._limits.rooms)

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
            "loads_queued": len(self._claims),
            **self._rooms.statistics(),
            "loads_running": self._claims.running,
            "fetches_queued": len(self._fetches),
            "fetches_running": self._fetches.running,
            "activations": self.activations + self._sessions.loaded,
            "load_failures": self.failures + self._sessions.failed,
            "facts_fetched": self.facts,
            **self._sessions.statistics(),
        }
