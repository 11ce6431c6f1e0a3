"""A process full of phones: `python -m tests.chaos.phones TASK.json`.

Reads words from standard input (`quiet`: write nothing more, but stay; `stop`: say how it ends and leave) and prints a
line of JSON about itself twice a second: {"clients", "whole", "acked", "delivered", "busy", "positions"}.
"""

import asyncio
import random
import sys
from pathlib import Path

import msgspec

from tests.chaos.history import HistoryFile
from tests.chaos.options import Task
from tests.chaos.phone import Phone

_REPORT_S = 0.5
_WRITERS = 2
_ANSWERS = ("going", "going", "going", "declined", "interested")


class Life:
    """What one phone does until it is to be quiet."""

    def __init__(self, phone: Phone, pause: float, quiet: asyncio.Event) -> None:
        self._phone = phone
        self._pause = pause
        self._quiet = quiet
        self._choice = phone.choice
        self.busy = 0

    async def live(self) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(_WRITERS):
                group.create_task(self._repeat(self._pause * _WRITERS, self._write))
            group.create_task(self._repeat(1.5, self._answer))
            group.create_task(self._repeat(4.0, self._read))
            group.create_task(self._repeat(15.0, self._phone.drop))
        self.busy += 1
        await self._phone.look_at_events()
        self.busy -= 1

    async def _repeat(self, mean_s: float, act) -> None:
        while not self._quiet.is_set():
            try:
                await asyncio.wait_for(self._quiet.wait(), self._choice.expovariate(1 / mean_s))
            except TimeoutError:
                await self._phone.wait_connected()
                self.busy += 1
                await act()
                self.busy -= 1

    async def _write(self) -> None:
        known = [name for name, room in self._phone.rooms.items() if room.since is not None]
        if known:  # in an event's chat, joining is what makes a member
            await self._phone.send(self._choice.choice(known), again=self._choice.random() < 0.03)

    async def _answer(self) -> None:
        if self._phone.person.events:
            event = self._choice.choice(self._phone.person.events)
            await self._phone.answer_event(event, self._choice.choice(_ANSWERS))

    async def _read(self) -> None:
        known = [name for name, room in self._phone.rooms.items() if room.since is not None]
        if known:
            await self._phone.read(self._choice.choice(known))


async def main(task: Task) -> None:
    quiet, stopping = asyncio.Event(), asyncio.Event()
    histories = [HistoryFile(Path(person.history)) for person in task.people]
    phones = [
        Phone(task.url, person, history, random.Random(f"{task.seed} {person.name}"))
        for person, history in zip(task.people, histories, strict=True)
    ]
    lives = [Life(phone, task.pause, quiet) for phone in phones]
    async with asyncio.TaskGroup() as group:
        group.create_task(_obey(quiet, stopping))
        group.create_task(_report(phones, lives, histories, stopping))
        connections = [group.create_task(phone.connect_until(stopping)) for phone in phones]
        for life in lives:
            group.create_task(life.live())
        await stopping.wait()
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
        await asyncio.gather(*(phone.finish() for phone in phones))


async def _obey(quiet: asyncio.Event, stopping: asyncio.Event) -> None:
    """Whoever started this process has gone when there is nothing more to read."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while (word := (await reader.readline()).decode().strip()) == "quiet":
        quiet.set()
    assert word in ("stop", ""), word
    quiet.set()
    stopping.set()


async def _report(
    phones: list[Phone], lives: list[Life], histories: list[HistoryFile], stopping: asyncio.Event
) -> None:
    while not stopping.is_set():
        report = {
            "clients": len(phones),
            "whole": sum(phone.is_whole for phone in phones),
            "acked": sum(phone.acked for phone in phones),
            "delivered": sum(phone.delivered for phone in phones),
            "busy": sum(life.busy for life in lives),
            "positions": {
                phone.person.name: {name: room.since or 0 for name, room in phone.rooms.items()} for phone in phones
            },
        }
        sys.stdout.buffer.write(msgspec.json.encode(report) + b"\n")
        sys.stdout.flush()
        for history in histories:
            history.flush()
        try:
            await asyncio.wait_for(stopping.wait(), _REPORT_S)
        except TimeoutError:
            continue


if __name__ == "__main__":
    asyncio.run(main(msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Task)))
