"""One run from start to verdict: a cluster, phones, faults by the seed, healing, quiet, and the checker.

What is left when `run` returns or raises: no process, and the directory only when it is worth keeping.
"""

import asyncio
import dataclasses
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from storage.client import Database as FlowDatabase
from storage.cluster_state import MongoViewStore
from storage.settings import StorageSettings
from tests.chaos import records
from tests.chaos.checker.verdict import Expected, History, Verdict, judge
from tests.chaos.cluster import Cluster
from tests.chaos.context import around
from tests.chaos.faults import Faults
from tests.chaos.options import Options
from tests.chaos.phone_processes import ROOT, PhoneProcess, javascript_is_there, processes
from tests.chaos.relays import LinkRelays
from tests.chaos.schedule import Fault, available, schedule
from tests.chaos.stored import Stored
from tests.chaos.world import World, build

_BACK_S = 60.0
"""How long clients may take to be back and whole after everything was healed; who takes longer is stranded."""
_AFTERMATH_S = 3.0
_QUIET_S = 45.0
_STEADY_S = 2.0

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """`numbers` is the one line of JSON; `kept` is where histories and logs are, if they were kept."""

    verdict: Verdict
    numbers: dict[str, Any]
    kept: Path | None
    remarks: tuple[str, ...]
    contexts: tuple[tuple[str, ...], ...]
    """For each of the verdict's examples, the lines of its client's history around it."""


async def run(
    options: Options, say: Say, *, source: Path = ROOT, tick: Callable[[float], None] = lambda s: None
) -> Outcome:
    """Raises RuntimeError, FlowError or TimeoutError when there was no run to judge. `tick` hears the seconds done."""
    directory = Path(tempfile.mkdtemp(prefix="flow-chaos-")) if options.keep is None else options.keep
    directory.mkdir(parents=True, exist_ok=True)
    if any(directory.iterdir()):
        raise RuntimeError(f"{directory} is not empty: what is in it would be taken for this run's")
    try:
        outcome = await _Run(options, directory, say, source, tick).run()
    except BaseException:
        say(f"Histories and logs are in {directory}")
        raise
    if options.keep is not None or not outcome.verdict.is_good:
        return outcome
    shutil.rmtree(directory, ignore_errors=True)
    return dataclasses.replace(outcome, kept=None)


class _Run:
    def __init__(
        self, options: Options, directory: Path, say: Say, source: Path, tick: Callable[[float], None]
    ) -> None:
        self._options = options
        self._directory = directory
        self._say = say
        self._source = source
        self._tick = tick
        self._remarks: list[str] = []
        self._phones: list[PhoneProcess] = []

    async def run(self) -> Outcome:
        options = self._options
        if options.javascript_phones and not javascript_is_there():
            self._remark("the JavaScript client is not installed (make node): those phones use Python")
            total = options.phones + options.javascript_phones
            options = self._options = msgspec.structs.replace(options, phones=total, javascript_phones=0)
        cluster = Cluster(self._directory, options, self._source)
        async with AsyncExitStack() as stack:
            stack.push_async_callback(cluster.stop)
            begun = time.monotonic()
            await cluster.start()
            self._say(f"{options.hosts} hosts and {options.edges} edges are up after {time.monotonic() - begun:.1f} s")
            world = await build(cluster.url, options, self._directory)
            faults, plan = await self._prepare(cluster, stack)
            stored = Stored(cluster.mongodb)
            stack.callback(stored.close)
            await self._start_phones(cluster, world, stack)
            await self._torment(faults, plan)
            await self._come_to_rest(cluster, faults, stored)
            for phones in self._phones:
                await phones.stop()
            database = await asyncio.to_thread(stored.read, world.capacity)
        return await asyncio.to_thread(self._judge, world, database, faults)

    def _remark(self, sentence: str) -> None:
        self._remarks.append(sentence)
        self._say(sentence.upper() if len(sentence) < 40 else f"NOTE: {sentence}")

    async def _prepare(self, cluster: Cluster, stack: AsyncExitStack) -> tuple[Faults, tuple[Fault, ...]]:
        options = self._options
        commands = await cluster.commands()
        for missing in sorted({"scale", "drain"} - commands):
            self._remark(f"this Flow has no `flow {missing}`: its faults are left out")
        kinds = available(recommender=options.recommender, commands=commands, wanted=options.kinds)
        plan = schedule(options.seed, options.seconds, kinds)
        self._say(f"seed {options.seed}: {len(plan)} faults")
        for fault in plan:
            self._say(f"  {fault}")
        database = FlowDatabase(StorageSettings(uri=cluster.mongodb))
        stack.push_async_callback(database.close)
        relays = LinkRelays(MongoViewStore(database), self._say)
        relaying = asyncio.create_task(relays.run())
        stack.push_async_callback(_cancel, relaying)
        await relays.wait_relayed(options.hosts)
        return Faults(cluster, relays, options, self._say), plan

    async def _start_phones(self, cluster: Cluster, world: World, stack: AsyncExitStack) -> None:
        self._phones = processes(cluster.url, self._options, world.people, self._directory)
        for phones in self._phones:
            stack.push_async_callback(phones.stop)
            await phones.start()
        await self._until(lambda: self._sum("whole") == len(world.people), _BACK_S, "the clients did not all join")
        self._say(f"{len(world.people)} clients are in their rooms")

    def _sum(self, what: str) -> int:
        return sum(phones.report.get(what, 0) for phones in self._phones)

    async def _until(self, holds: Callable[[], bool], timeout_s: float, what: str) -> bool:
        give_up_at = time.monotonic() + timeout_s
        while not holds():
            for phones in self._phones:
                phones.check()
            if time.monotonic() > give_up_at:
                self._remark(what)
                return False
            await asyncio.sleep(0.2)
        return True

    async def _torment(self, faults: Faults, plan: tuple[Fault, ...]) -> None:
        begun = time.monotonic()
        coming = list(plan)
        while (passed := time.monotonic() - begun) < self._options.seconds:
            self._tick(passed)
            for phones in self._phones:
                phones.check()
            if coming and coming[0].at <= passed:
                await faults.inject(coming.pop(0))
            else:
                await asyncio.sleep(0.05)
        for fault in coming:
            await faults.inject(fault)

    # --- rest ---------------------------------------------------------------------------------------------------------

    async def _come_to_rest(self, cluster: Cluster, faults: Faults, stored: Stored) -> None:
        """Heal everything, let the clients write on a little, then silence; stop when nothing changes any more."""
        await faults.heal_all()
        self._remarks += faults.failed_commands
        await self._until_up(cluster)
        clients = self._sum("clients")
        await self._until(lambda: self._sum("whole") == clients, _BACK_S, "not every client came back")
        await asyncio.sleep(_AFTERMATH_S)
        for phones in self._phones:
            phones.tell("quiet")
        await self._until(lambda: self._sum("busy") == 0, _QUIET_S, "some clients still wait for answers")
        give_up_at = time.monotonic() + _QUIET_S
        while time.monotonic() < give_up_at:
            last = await asyncio.to_thread(stored.last)
            if self._sum("whole") == clients and self._have_all(last):
                break
            await asyncio.sleep(0.5)
        await asyncio.sleep(_STEADY_S)
        self._say(f"quiet: {self._sum('whole')} of {clients} clients are whole")

    def _have_all(self, last: dict[str, int]) -> bool:
        return all(
            position >= last.get(room, 0)
            for phones in self._phones
            for positions in phones.report.get("positions", {}).values()
            for room, position in positions.items()
        )

    async def _until_up(self, cluster: Cluster) -> None:
        """Every member runs and the port is ready."""
        give_up_at = time.monotonic() + _BACK_S
        wanted = {"host": self._options.hosts, "edge": self._options.edges}
        while time.monotonic() < give_up_at:
            if not cluster.is_running:
                raise RuntimeError(f"Flow has ended; its logs are in {cluster.data / 'logs'}")
            members = {kind: len(await cluster.members(kind)) for kind in wanted}
            if members == wanted and await _is_ready(cluster.url):
                self._say("everything is healed")
                return
            await asyncio.sleep(0.5)
        self._remark(f"after {_BACK_S:g} s the cluster had {members}, not {wanted}")

    # --- judging ------------------------------------------------------------------------------------------------------

    def _judge(self, world: World, database: records.Database, faults: Faults) -> Outcome:
        histories = [
            History(records.Client(person.name, person.user), person.rooms, lambda person=person: _read(person.history))
            for person in world.people
        ]
        options = self._options
        expected = Expected(faults=max(1, int(options.seconds / 15)), acks=max(20, int(options.seconds * 5)))
        verdict = judge(histories, database, faults=dict(sorted(faults.counts.items())), expected=expected)
        numbers = {
            "good": verdict.is_good,
            **verdict.numbers,
            "empty": list(verdict.empty),
            "seed": options.seed,
            "seconds_asked": options.seconds,
            "hosts": options.hosts,
            "edges": options.edges,
            "clients": len(world.people),
            "mutation": options.mutation or None,
        }
        contexts = tuple(tuple(around(violation, world.people)) for violation in verdict.examples)
        return Outcome(verdict, numbers, self._directory, tuple(self._remarks), contexts)


def _read(path: str):
    return records.read(Path(path)) if Path(path).exists() else ()


async def _is_ready(url: str) -> bool:
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=3)) as http,
            http.get(f"{url}/readyz") as response,
        ):
            return response.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
