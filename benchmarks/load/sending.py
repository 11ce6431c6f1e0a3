"""How the clients of one process send: in a closed loop, as fast as they are answered, or in an open loop by time."""

import asyncio
import itertools
import time
from array import array
from typing import Final

from benchmarks.load.client import Client
from benchmarks.load.crowd import Crowd
from benchmarks.load.orders import Load, Loaded
from benchmarks.load.wire import SEQ, number_after
from benchmarks.openloop import Schedule

_TICK_S: Final = 0.001
_AFTER_REFUSAL_S: Final = 0.05
_FATE_UNKNOWN: Final = frozenset({"deadline_exceeded", "unavailable"})


class Sending:
    """One load on one crowd."""

    def __init__(self, crowd: Crowd, load: Load) -> None:
        self._crowd = crowd
        self._load = load
        self._window = load.window
        self._numbers = itertools.count()
        self._result = Loaded()
        self._longest_lag = 0.0
        self._room_of = {number: load.room or crowd.clients[number].rooms[0] for number in load.senders}

    async def run(self) -> Loaded:
        crowd, load = self._crowd, self._load
        start, end = self._window
        if load.record_deliveries:
            crowd.delivery_ms = array("d")
            crowd.recording = (round(start * 1e9), round(end * 1e9))
        watch = asyncio.create_task(self._watch())
        await _until(load.start_at)
        await (self._open() if load.rate else self._closed())
        await watch
        await self._answers()
        crowd.recording = None
        result = self._result
        result.deliveries_ms, result.tallies = crowd.delivery_ms, crowd.tallies
        result.unanswered = sum(client.unanswered for client in crowd.clients.values())
        return result

    async def _watch(self) -> None:
        """The window's deliveries, and what this process took of its core to see them."""
        start, end = self._window
        await _until(start)
        delivered, cpu = self._crowd.delivered, time.process_time()
        await _until(end)
        self._result.deliveries = self._crowd.delivered - delivered
        self._result.cpu_share = (time.process_time() - cpu) / (end - start)
        self._result.longest_lag_ms = self._longest_lag * 1000

    # --- closed -------------------------------------------------------------------------------------------------------

    async def _closed(self) -> None:
        async with asyncio.TaskGroup() as group:
            for number in self._load.senders:
                for _ in range(self._load.in_flight):
                    group.create_task(self._again_and_again(number))

    async def _again_and_again(self, number: int) -> None:
        client, room, end = self._crowd.clients[number], self._room_of[number], self._window[1]
        loop = asyncio.get_running_loop()
        while (now := time.monotonic()) < end:
            answered: asyncio.Future[int] = loop.create_future()
            self._say(client, room, now, answered)
            try:
                async with asyncio.timeout(self._load.drain_s):
                    seq = await answered
            except TimeoutError:
                return  # counted: it stays unanswered
            if not seq:
                await asyncio.sleep(_AFTER_REFUSAL_S)
            elif self._load.await_copy and client.positions[room.encode()].position < seq:
                await self._copy(client, seq)

    async def _copy(self, client: Client, seq: int) -> None:
        client.waiting_for_copy = seq
        future = self._crowd.on_copy[client] = asyncio.get_running_loop().create_future()
        await future

    # --- open ---------------------------------------------------------------------------------------------------------

    async def _open(self) -> None:
        load = self._load
        schedule = Schedule(load.start_at, load.phases)
        senders = itertools.cycle(load.senders)
        while not schedule.is_over:
            now = time.monotonic()
            for intended in schedule.due(now):
                self._longest_lag = max(self._longest_lag, now - intended)
                number = next(senders)
                client = self._crowd.clients[number]
                if client.transport is not None:
                    self._say(client, self._room_of[number], intended, None)
            await asyncio.sleep(_TICK_S)

    # --- one message --------------------------------------------------------------------------------------------------

    def _say(self, client: Client, room: str, intended: float, answered: "asyncio.Future[int] | None") -> None:
        result, window = self._result, self._window

        def on_answer(packet: bytes) -> None:
            now = time.monotonic()
            seq = self._read(room, packet)
            if seq:
                if window[0] <= now < window[1]:
                    result.accepted += 1
                if window[0] <= intended < window[1]:
                    result.acks_ms.append((now - intended) * 1000)
                    result.ack_times.append(intended - window[0])
            if answered is not None and not answered.done():
                answered.set_result(seq)

        result.sent += 1
        client_message_id = f"{round(intended * 1e9)}-{client.number}-{next(self._numbers)}"
        client.say(room, self._load.text, client_message_id, on_answer)

    def _read(self, room: str, packet: bytes) -> int:
        """The number that an accepted message was given; 0 for a refused one."""
        if b'"ok":true' in packet:
            seq = number_after(packet, SEQ, 0, len(packet))
            self._crowd.tally(room).accept(seq)
            return seq
        code = _code(packet)
        self._result.refused[code] += 1
        if code in _FATE_UNKNOWN:
            self._crowd.tally(room).unknown += 1
        return 0

    async def _answers(self) -> None:
        deadline = time.monotonic() + self._load.drain_s
        while time.monotonic() < deadline and any(client.unanswered for client in self._crowd.clients.values()):
            await asyncio.sleep(0.02)


def _code(packet: bytes) -> str:
    _, _, rest = packet.partition(b'"code":"')
    return rest.partition(b'"')[0].decode() or packet[:80].decode(errors="replace")


async def _until(moment: float) -> None:
    await asyncio.sleep(max(0.0, moment - time.monotonic()))
