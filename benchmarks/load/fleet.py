"""All processes of the load generator, as the one who measures uses them.

`fleet.connect`, `load` and `settle` each give every process its part of the work and wait for all answers.
"""

import contextlib
import multiprocessing
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import Any, Final

from benchmarks.load import worker
from benchmarks.load.orders import Connect, Load, Loaded, Newcomer, Quit, Settle, Settled, Target
from benchmarks.reconcile import Account

_SOCKETS_A_SOURCE: Final = 5_000
_HEAD_START_S: Final = 0.5


def source(number: int) -> str:
    """The address client `number` comes from, spread over 127.0.0.0/8."""
    block = number // _SOCKETS_A_SOURCE + 1
    return f"127.1.{block // 250}.{block % 250 + 1}"


@dataclass(frozen=True)
class Arrival:
    """How the clients came: how many a second from the first dial to the last one ready, and how long each took."""

    count: int
    per_second: float
    latencies_ms: list[float]


class Fleet:
    def __init__(self, size: int, *, gives_way: bool = False) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipes: list[Connection] = []
        self._processes = []
        self._numbers: list[list[int]] = [[] for _ in range(size)]
        for index in range(size):
            ours, theirs = context.Pipe()
            process = context.Process(target=worker.main, args=(theirs, gives_way), name=f"load-{index}", daemon=True)
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)
        # Each answers once it has started, which costs more CPU than what it is measured with at first.
        _ = self.order([Settle({}, 0.0)] * size)

    @property
    def size(self) -> int:
        return len(self._pipes)

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self._processes if process.pid is not None]

    def order(self, orders: Sequence[Any]) -> list[Any]:
        """One order a process; all answers. Raises what a process raised."""
        self.send(orders)
        return self.answers()

    def send(self, orders: Sequence[Any]) -> None:
        for pipe, order in zip(self._pipes, orders, strict=True):
            pipe.send(order)

    def answers(self) -> list[Any]:
        answers = [pipe.recv() for pipe in self._pipes]
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers

    def connect(self, target: Target, newcomers: Sequence[Newcomer], at_once: int) -> Arrival:
        """Bring them in, `at_once` under way in all. Raises RuntimeError when one cannot come in."""
        parts = [tuple(newcomers[index :: self.size]) for index in range(self.size)]
        for numbers, part in zip(self._numbers, parts, strict=True):
            numbers.extend(newcomer.number for newcomer in part)
        each = max(1, at_once // self.size)
        answers = self.order([Connect(target, part, each) for part in parts])
        failures: Counter[str] = sum((answer.failures for answer in answers), Counter())
        if failures:
            raise RuntimeError(f"{failures.total()} of {len(newcomers)} clients did not come in: {failures}")
        took = max(answer.last_s for answer in answers) - min(answer.first_s for answer in answers)
        latencies = [latency for answer in answers for latency in answer.latencies_ms]
        return Arrival(len(newcomers), len(newcomers) / took, latencies)

    def load(self, load: Load, at: Sequence[tuple[float, Callable[[], None]]] = ()) -> list[Loaded]:
        """Send. `load.rate` and `load.senders` are of all processes together; `load.start_at` is set here.

        `at` holds what to do meanwhile, by seconds since the window began (negative: in the warm-up).
        """
        started = replace(load, start_at=time.monotonic() + _HEAD_START_S)
        parts = []
        for numbers in self._numbers:
            mine = set(numbers)
            senders = tuple(number for number in load.senders if number in mine)
            share = load.rate * len(senders) / max(1, len(load.senders))
            parts.append(replace(started, senders=senders, rate=share))
        self.send(parts)
        for offset, action in sorted(at, key=lambda item: item[0]):
            time.sleep(max(0.0, started.window[0] + offset - time.monotonic()))
            action()
        return self.answers()

    def settle(self, loaded: Sequence[Loaded], *, timeout_s: float = 20.0) -> tuple[Account, list[Settled]]:
        """Wait until everybody has everything, and the account of who has what."""
        account = Account()
        for part in loaded:
            account.add(part.tallies, (), part.unanswered)
        ends = {room: tally.highest for room, tally in account.tallies.items()}
        settled: list[Settled] = self.order([Settle(ends, timeout_s)] * self.size)
        for answer in settled:
            account.add({}, answer.standings, 0)
        return account, settled

    def close(self) -> None:
        for pipe in self._pipes:
            with contextlib.suppress(OSError):
                pipe.send(Quit())
            pipe.close()
        for process in self._processes:
            process.join(10)
            if process.is_alive():
                process.kill()
                process.join()


@contextlib.contextmanager
def fleet(size: int = 2, *, gives_way: bool = False) -> Iterator[Fleet]:
    running = Fleet(size, gives_way=gives_way)
    try:
        yield running
    finally:
        running.close()
