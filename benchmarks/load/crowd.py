"""The clients of one process of the load generator, together: connecting them and counting what comes.

One of it a process and event loop. It never decides whether a run was good: it hands over what it saw.
"""

import asyncio
import random
import socket
import time
from array import array
from collections import Counter
from typing import Final

from benchmarks.load import wire
from benchmarks.load.client import Client, Scanned
from benchmarks.load.orders import ComeBack, Connect, Connected, Newcomer, Settle, Settled, Target
from benchmarks.reconcile import RoomTally, Standing

_REMEMBERED: Final = 8_192
_RECEIVE_BUFFER: Final = 65_536
"""What the kernel keeps of one client's stream. Fixed, so that one that stops reading is felt soon."""


class Crowd:
    """`delivered` counts every message to every client; while `recording` their latencies are kept as well."""

    def __init__(self) -> None:
        self.clients: dict[int, Client] = {}
        self.sources: dict[int, str] = {}
        self.scanned: dict[bytes, Scanned] = {}
        self.tallies: dict[str, RoomTally] = {}
        self.delivered = 0
        self.strangers = 0
        self.resyncs = 0
        self.connections_lost = 0
        self.close_codes: Counter[int] = Counter()
        self.recording: tuple[int, int] | None = None
        self.delivery_ms: array[float] = array("d")
        self.upgrade = b""
        self.target: Target | None = None
        self.on_copy: dict[Client, asyncio.Future[None]] = {}
        self.come_back: ComeBack | None = None
        self.away: set[Client] = set()
        self.last_back = 0.0
        self._returning: set[asyncio.Task[None]] = set()

    # --- what clients tell --------------------------------------------------------------------------------------------

    def remember(self, data: bytes, scanned: Scanned) -> None:
        if len(self.scanned) >= _REMEMBERED:
            self.scanned.clear()
        self.scanned[data] = scanned

    def received(self, count: int, intended_ns: int) -> None:
        self.delivered += count
        if self.recording is not None and self.recording[0] <= intended_ns < self.recording[1]:
            self.delivery_ms.append((time.monotonic_ns() - intended_ns) / 1e6)

    def copy_came(self, client: Client) -> None:
        future = self.on_copy.pop(client, None)
        if future is not None and not future.done():
            future.set_result(None)

    def lost(self, client: Client) -> None:
        self.connections_lost += 1
        self.close_codes[client.close_code] += 1
        if self.come_back is not None and client not in self.away:
            self.away.add(client)
            task = asyncio.get_running_loop().create_task(self._return(client))
            self._returning.add(task)
            task.add_done_callback(self._returning.discard)

    def tally(self, room: str) -> RoomTally:
        tally = self.tallies.get(room)
        if tally is None:
            tally = self.tallies[room] = RoomTally()
        return tally

    # --- coming -------------------------------------------------------------------------------------------------------

    async def connect(self, order: Connect) -> Connected:
        """Bring them in; the times are those of the first dial and of the last client that was in its rooms."""
        self.target = order.target
        self.upgrade = wire.upgrade(order.target.host, order.target.port, deflate=order.target.deflate)
        waiting = list(reversed(order.newcomers))
        failures: Counter[str] = Counter()
        latencies: array[float] = array("d")
        started = last = time.monotonic()

        async def bring() -> None:
            nonlocal last
            while waiting:
                newcomer = waiting.pop()
                began = time.monotonic()
                reason = await self._bring(newcomer, order.timeout_s)
                last = time.monotonic()
                latencies.append((last - began) * 1000)
                if reason is not None:
                    failures[reason[:120]] += 1

        async with asyncio.TaskGroup() as group:
            for _ in range(order.at_once):
                group.create_task(bring())
        return Connected(started, last, failures, latencies)

    async def _bring(self, newcomer: Newcomer, timeout_s: float) -> str | None:
        client = Client(self, newcomer.number, newcomer.auth, newcomer.rooms)
        self.clients[newcomer.number] = client
        self.sources[newcomer.number] = newcomer.source
        return await self._dial(client, newcomer.source, timeout_s)

    async def _dial(self, client: Client, source: str, timeout_s: float) -> str | None:
        """None when the client is in its rooms, else what went wrong."""
        assert self.target is not None
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[str | None] = loop.create_future()
        client.on_ready = lambda reason: None if ready.done() else ready.set_result(reason)
        connection = socket.socket()
        connection.setblocking(False)
        try:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
            connection.bind((source, 0))
            await loop.sock_connect(connection, (self.target.host, self.target.port))
            await loop.create_connection(lambda: client, sock=connection)
        except OSError as error:
            connection.close()
            return f"dialing: {error.strerror or error}"
        try:
            async with asyncio.timeout(timeout_s):
                reason = await ready
        except TimeoutError:
            reason = "no answer in time"
        if reason is not None:
            await _hang_up(client)
        return reason

    async def _return(self, client: Client) -> None:
        """As the official clients do: after a delay with jitter, again and again."""
        assert self.come_back is not None
        self.target = self.come_back.target
        while True:
            await asyncio.sleep(self.come_back.delay_s + random.random() * self.come_back.jitter_s)
            client.forget()
            if await self._dial(client, self.sources[client.number], 10.0) is None:
                break
        self.away.discard(client)
        self.last_back = time.monotonic()

    def stall(self, number: int, *, stall: bool) -> None:
        transport = self.clients[number].transport
        if transport is not None:
            (transport.pause_reading if stall else transport.resume_reading)()

    # --- looking ------------------------------------------------------------------------------------------------------

    async def settle(self, order: Settle) -> Settled:
        ends = {room.encode(): end for room, end in order.ends.items()}
        deadline = time.monotonic() + order.timeout_s
        while time.monotonic() < deadline and not self._stand_at(ends):
            await asyncio.sleep(0.05)
        standings = [
            Standing(client.number, room.decode(), position.start, position.position, position.faults, position.fault)
            for client in self.clients.values()
            for room, position in client.positions.items()
        ]
        return Settled(standings, self.strangers, self.resyncs, self.connections_lost, self.close_codes)

    def _stand_at(self, ends: dict[bytes, int]) -> bool:
        return all(
            position.position >= ends.get(room, 0)
            for client in self.clients.values()
            for room, position in client.positions.items()
        )


async def _hang_up(client: Client) -> None:
    """A client has one connection at a time: the one that failed has gone before the next is dialed."""
    if client.transport is not None:
        client.transport.abort()
    while client.transport is not None:
        await asyncio.sleep(0.01)
