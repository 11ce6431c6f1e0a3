"""One process of the load generator: takes orders from a pipe, one at a time, and answers each."""

import asyncio
import contextlib
import gc
import os
import resource
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

import uvloop

from benchmarks.load.crowd import Crowd
from benchmarks.load.orders import ComeBack, Connect, Load, Quit, Returned, Settle, Stall, Whole
from benchmarks.load.sending import Sending

_BEHIND: Final = 10
_TRIES: Final = 50
_GROUP: Final = Path("/proc/self/autogroup")


def main(orders: Connection, gives_way: bool = False) -> None:
    """`gives_way`: what is measured goes before it on the processors they share."""
    if gives_way:
        _stand_back()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    gc.freeze()
    gc.set_threshold(100_000, 50, 50)
    uvloop.run(_serve(orders))


def _stand_back() -> None:
    """A tenth of the weight. Where Linux schedules by session (sched_autogroup), a process's niceness counts within its
    own session alone, so the session is its own and has the niceness too."""
    os.setsid()
    os.nice(_BEHIND)
    if not _GROUP.exists():
        return
    for _ in range(_TRIES):  # Linux lets one user after the other change one, ten a second in all
        with contextlib.suppress(BlockingIOError):
            _ = _GROUP.write_text(str(_BEHIND))
            return
        time.sleep(0.1)
    raise RuntimeError("the kernel does not let this process stand behind others")


async def _serve(orders: Connection) -> None:
    loop = asyncio.get_running_loop()
    crowd = Crowd()
    while True:
        try:
            order = await loop.run_in_executor(None, orders.recv)
        except EOFError:
            return
        if isinstance(order, Quit):
            return
        try:
            orders.send(await _obey(crowd, order))
        except Exception as error:  # noqa: BLE001 - told to the one who measures, who raises it
            orders.send(error)


async def _obey(crowd: Crowd, order: Any) -> Any:
    match order:
        case Connect():
            return await crowd.connect(order)
        case Load():
            return await Sending(crowd, order).run()
        case Settle():
            return await crowd.settle(order)
        case Stall():
            for number in order.numbers:
                if number in crowd.clients:
                    crowd.stall(number, stall=order.stall)
            return None
        case ComeBack():
            crowd.come_back = order
            return None
        case Whole():
            deadline = time.monotonic() + order.timeout_s
            while crowd.away and time.monotonic() < deadline:
                await asyncio.sleep(0.02)
            return Returned(crowd.last_back, len(crowd.away), crowd.connections_lost)
        case _:
            raise TypeError(f"{type(order).__name__} is no order")
