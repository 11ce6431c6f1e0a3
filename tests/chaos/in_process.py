"""The cheap half of the proof: two real hosts over in-memory storage, both sure that they own everything, from a seed.

People write and answer through either host, hosts die in the middle of it, storage fails before and after its writes;
the same checker judges. `python -m tests.chaos.in_process --seeds 40` prints what was broken, as one line of JSON, and
exits 1 when anything was: that is how a mutated copy of the source is tried in seconds.
"""

import argparse
import asyncio
import itertools
import logging
import random
import sys
from collections import Counter
from typing import Any

import msgspec

from actors.host import Host
from actors.limits import HostLimits
from actors.messages import AnswerRsvp, EventSnapshot, JoinedRoom, RsvpAnswer, SentMessage, WatchEvent
from cluster.kernel.errors import FlowError
from cluster.kernel.wire import decode
from storage.records import RoomRecord
from tests.actors.world import Edge, World
from tests.chaos.checker.verdict import Expected, History, Verdict, judge
from tests.chaos.records import (
    Answered,
    AnyRecord,
    Asked,
    Client,
    Connected,
    Database,
    GaveUp,
    Seen,
    StoredMessage,
    StoredRsvp,
)

ROOM, EVENT = "ab" * 12, "cd" * 12
PLACES = 2
_PEOPLE, _STEPS, _FAULTS = 5, 14, 12
_LIMITS = HostLimits(decide_attempts=50, commit_backoff_s=0.0, commit_backoff_cap_s=0.0, load_backoff_s=0.0)
"""No time passes, so a seed's story is the same each time."""
_ANSWERS = ("going", "going", "declined", "interested")


class Story:
    """One seed's. `run` returns the verdict."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._world = World()
        self._now = itertools.count(1.0)
        self._operations = itertools.count(1)
        self._hosts: list[tuple[Host, Edge]] = []
        self._lives = itertools.count()
        self._clients = [Client(f"client-{index}", f"{index:024x}") for index in range(_PEOPLE)]
        self._records: dict[Client, list[AnyRecord]] = {client: [] for client in self._clients}
        self._faults = 0

    async def run(self) -> Verdict:
        world, users = self._world, [client.user for client in self._clients]
        room = RoomRecord(id=ROOM, kind="group", name="", created_by=users[0], created_at_ms=0)
        await world.storage.chat_log.create_room(room)
        await world.storage.memberships.add(ROOM, users, 0)
        await world.events.put(EVENT, capacity=PLACES)
        self._hosts = [self._new_host(), self._new_host()]
        try:
            await asyncio.gather(self._torment(), *(self._live(client) for client in self._clients))
            await self._settle()
        finally:
            await world.close()
        histories = [History(client, (), lambda records=records: records) for client, records in self._records.items()]
        expected = Expected(faults=1, acks=10)
        return judge(histories, await self._stored(), faults={"all": self._faults}, expected=expected)

    def _new_host(self) -> tuple[Host, Edge]:
        host = self._world.host(f"host-{next(self._lives)}", limits=_LIMITS)
        return host, Edge(host, self._world.clock)

    async def _turns(self) -> None:
        for _ in range(self._random.randrange(1, 20)):
            await asyncio.sleep(0)

    # --- faults -------------------------------------------------------------------------------------------------------

    async def _torment(self) -> None:
        storage = self._world.storage
        for _ in range(_FAULTS):
            await self._turns()
            match self._random.randrange(4):
                case 0:
                    await self._kill(self._random.randrange(2))
                case 1:
                    storage.chat_log.faults.next.extend(self._random.choices(["before", "after", "none"], k=2))
                case 2:
                    storage.rsvps.faults.next.extend(self._random.choices(["before", "after", "none"], k=2))
                case _:
                    await self._turns()
            self._faults += 1

    async def _kill(self, index: int) -> None:
        """Nothing that it has not written is ever written; whoever waits learns that the link broke."""
        host, edge = self._hosts[index]
        edge.link.cut("killed")
        self._hosts[index] = self._new_host()
        self._world.hosts.remove(host)
        await host._tasks.stop()

    async def _settle(self) -> None:
        """Storage is well again, and a last owner looks at everything, as it would when the next person comes."""
        for port in (self._world.storage.chat_log, self._world.storage.rsvps):
            port.faults.next.clear()
        _, edge = self._hosts[0] = self._new_host()
        await edge.ask(f"event/{EVENT}", "event.watch", self._clients[0].user, WatchEvent(), EventSnapshot)
        for committer in self._hosts[0][0]._committers.values():
            await committer.wait_idle()

    # --- people -------------------------------------------------------------------------------------------------------

    async def _live(self, client: Client) -> None:
        self._records[client].append(Connected(at=next(self._now), connection=1, transport="local"))
        for _ in range(_STEPS):
            await self._turns()
            match self._random.randrange(8):
                case 0:
                    await self._read(client)
                case 1 | 2 | 3:
                    await self._answer(client)
                case _:
                    await self._send(client)

    async def _send(self, client: Client) -> None:
        operation = next(self._operations)
        key = f"{client.name}-{operation}"
        for attempt in range(1, 4):
            asked = self._asked("send", ROOM, operation, attempt)
            self._records[client].append(msgspec.structs.replace(asked, key=key, text=key))
            edge = self._random.choice(self._hosts)[1]
            answer = await self._outcome(
                client, asked, lambda edge=edge: edge.begin_send(_chat(), client.user, key, key)
            )
            if answer is not None:
                sent = decode(answer, SentMessage)
                self._write(client, asked, id=sent.id, seq=sent.seq, epoch=sent.epoch, ts=sent.ts)
                if self._random.random() < 0.8:
                    return

    async def _answer(self, client: Client) -> None:
        operation, status = next(self._operations), self._random.choice(_ANSWERS)
        for attempt in (1, 2):
            asked = msgspec.structs.replace(self._asked("rsvp", EVENT, operation, attempt), status=status)
            self._records[client].append(asked)
            edge = self._random.choice(self._hosts)[1]
            body = AnswerRsvp(status=status)
            answer = await self._outcome(
                client,
                asked,
                lambda edge=edge, body=body: edge.begin(f"event/{EVENT}", "event.rsvp", client.user, body),
            )
            if answer is not None:
                told = decode(answer, RsvpAnswer)
                self._write(client, asked, status=told.status, attending=told.attending, rank=told.place)
                return

    async def _read(self, client: Client) -> None:
        asked = self._asked("history", ROOM, next(self._operations), 1)
        self._records[client].append(asked)
        edge = self._random.choice(self._hosts)[1]
        answer = await self._outcome(client, asked, lambda: edge.begin(_chat(), "chat.join", client.user))
        if answer is not None:
            page = tuple(
                Seen(one["seq"], one["id"], one["clientMsgId"], one["epoch"], one["userId"], one["text"])
                for one in decode(answer, JoinedRoom).messages
            )
            self._write(client, asked, messages=page)

    def _asked(self, kind: str, place: str, operation: int, attempt: int) -> Asked:
        return Asked(at=next(self._now), operation=operation, attempt=attempt, kind=kind, place=place)

    async def _outcome(self, client: Client, asked: Asked, begin: Any) -> Any:
        """The raw answer, None when there was none or an error, which is written down."""
        try:
            return await begin()
        except FlowError as error:
            code, retryable = error.kind.code, error.kind.retryable
            if retryable:
                reason = GaveUp(at=next(self._now), operation=asked.operation, attempt=asked.attempt, reason=code)
                self._records[client].append(reason)
            else:
                self._write(client, asked, code=code)
            return None

    def _write(self, client: Client, asked: Asked, **answer: Any) -> None:
        self._records[client].append(
            Answered(at=next(self._now), operation=asked.operation, attempt=asked.attempt, **answer)
        )

    async def _stored(self) -> Database:
        storage = self._world.storage
        messages = tuple(
            StoredMessage(
                room=row.room_id,
                seq=row.seq,
                epoch=row.epoch,
                id=row.id,
                user=row.user_id,
                key=row.client_message_id,
                text=row.text,
            )
            for row in await storage.chat_log.after(ROOM, 0, 500)
        )
        rows = [await storage.rsvps.rsvp(EVENT, client.user) for client in self._clients]
        rsvps = tuple(
            StoredRsvp(event=EVENT, user=row.user_id, status=row.status, seat=row.seat, place=row.place)
            for row in rows
            if row is not None
        )
        return Database(messages, rsvps, {EVENT: PLACES})


def _chat() -> str:
    return f"chat/{ROOM}"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.in_process", description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=40)
    parser.add_argument("--first", action="store_true", help="stop at the first seed that shows something")
    given = parser.parse_args(arguments)
    logging.disable(logging.CRITICAL)
    found: Counter[str] = Counter()
    seeds = 0
    while seeds < given.seeds and not (given.first and found.total()):
        found.update(asyncio.run(Story(seeds).run()).violations)
        seeds += 1
    broken = {kind: count for kind, count in found.items() if count}
    sys.stdout.write(msgspec.json.encode({"seeds": seeds, "violations": broken}).decode() + "\n")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
