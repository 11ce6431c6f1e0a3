"""Steady messages into many rooms, from a few people to one who hears all, with every send and delivery kept.

Used by the cases that do something to the cluster meanwhile. Sends are an open loop: each room's next message leaves at
its time whether or not the last was answered. A client library's one retry is allowed, with the same clientMsgId.
"""

import asyncio
import itertools
import time
import uuid
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

import pymongo
import socketio.exceptions

from benchmarks.percentiles import percentile
from cluster.run import attached
from cluster.run.installation import Installation
from tests.support.flow_process import FlowProcess, Person, new_event

ROOMS_A_PERSON = 100
_ANSWER_S = 12.0


@dataclass(slots=True)
class Sent:
    """One message. `acked_at` is None while it has no answer; times are `time.perf_counter`."""

    room: str
    sent_at: float
    acked_at: float | None = None
    attempts: int = 0
    error: str | None = None

    @property
    def latency_ms(self) -> float:
        return ((self.acked_at or time.perf_counter()) - self.sent_at) * 1000


@dataclass(slots=True)
class RoomLoad:
    """`rate` messages a second in all, spread evenly over `rooms`."""

    flow: FlowProcess
    rooms: int
    rate: float
    senders: int = 12
    sent: list[Sent] = field(default_factory=list)
    room_ids: list[str] = field(default_factory=list)
    _people: list[Person] = field(default_factory=list)
    _heard: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    _acked: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _loop: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Register people, make rooms, join them, begin to send."""
        listener_count = -(-self.rooms // ROOMS_A_PERSON)
        self._people = [await Person.register(self.flow) for _ in range(self.senders + listener_count)]
        listeners, senders = self._people[self.senders :], self._people[: self.senders]
        for index in range(self.rooms):
            event = await senders[index % len(senders)].call_http("POST", "/v1/events", new_event())
            self.room_ids.append(f"event:{event['id']}")
        for person in self._people:
            await person.socket.connect(
                self.flow.url, auth={"token": person.token}, namespaces=["/chat"], transports=["websocket"]
            )
        for listener in listeners:
            listener.socket.on("chat:new_message", self._hear, namespace="/chat")
        for index, room_id in enumerate(self.room_ids):
            for person in (senders[index % len(senders)], listeners[index // ROOMS_A_PERSON]):
                answer = await person.ask("/chat", "chat:join_room", room_id)
                assert answer["ok"], answer
        self._loop = asyncio.create_task(self._send_all())

    async def _send_all(self) -> None:
        due, index = time.perf_counter(), 0
        while True:
            due += 1 / self.rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            room_id = self.room_ids[index % self.rooms]
            sender = self._people[(index % self.rooms) % self.senders]
            task = asyncio.create_task(self._send(sender, room_id))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            index += 1

    async def _send(self, sender: Person, room_id: str) -> None:
        sent = Sent(room_id, time.perf_counter())
        self.sent.append(sent)
        body = {"roomId": room_id, "text": "x" * 32, "clientMsgId": str(uuid.uuid4())}
        for _ in range(2):
            sent.attempts += 1
            try:
                answer = await sender.socket.call("chat:send_message", body, namespace="/chat", timeout=_ANSWER_S)
            except (socketio.exceptions.SocketIOError, TimeoutError) as error:
                sent.error = type(error).__name__
                await _until_connected(sender)
                continue
            if answer["ok"]:
                sent.acked_at, sent.error = time.perf_counter(), None
                self._acked[room_id].add(answer["seq"])
                return
            sent.error = answer["error"]["code"]
            await asyncio.sleep(answer["error"].get("retryAfterMs", 100) / 1000)

    def _hear(self, body: dict[str, Any]) -> None:
        self._heard[body["roomId"]].append(body["seq"])

    async def stop(self) -> dict[str, Any]:
        """Stop sending, wait for what is under way, compare what was acked with what is stored and was heard."""
        assert self._loop is not None
        self._loop.cancel()
        await asyncio.gather(self._loop, return_exceptions=True)
        await asyncio.gather(*self._tasks)
        await self._quiet()
        stored = await asyncio.to_thread(self._stored)
        counts: Counter[str] = Counter()
        for room_id in self.room_ids:
            heard, kept = self._heard[room_id], stored[room_id]
            counts["lost"] += len(self._acked[room_id] - set(kept)) + len(set(kept) - set(heard))
            counts["repeated"] += len(heard) - len(set(heard))
            counts["reordered"] += sum(later < earlier for earlier, later in itertools.pairwise(heard))
            counts["gaps"] += len(set(range(1, len(kept) + 1)) - set(kept))
        for person in self._people:
            await person.close()
        return {
            "sent": len(self.sent),
            "failed_after_one_retry": sum(one.acked_at is None for one in self.sent),
            "retried": sum(one.attempts > 1 for one in self.sent),
            **{name: counts[name] for name in ("lost", "repeated", "reordered", "gaps")},
        }

    async def _quiet(self) -> None:
        """Until nothing more is heard."""
        before = -1
        while before != (now := sum(map(len, self._heard.values()))):
            before = now
            await asyncio.sleep(2.0)

    def _stored(self) -> dict[str, list[int]]:
        """Each room's numbers, as the database has them. Blocks."""
        found = attached.attachment(Installation(self.flow.data)).storage
        seqs: dict[str, list[int]] = {room_id: [] for room_id in self.room_ids}
        with pymongo.MongoClient(found.uri) as client:
            wanted = {"room_id": {"$in": self.room_ids}, "sealed": None}
            for row in client[found.database].messages.find(wanted, {"_id": 0, "room_id": 1, "seq": 1}):
                seqs[row["room_id"]].append(row["seq"])
        return seqs

    def latencies_ms(self, since: float, until: float, rooms: set[str] | None = None) -> list[float]:
        """Of messages sent in that time into those rooms; one without an answer has waited until now."""
        return [
            one.latency_ms for one in self.sent if since <= one.sent_at < until and (rooms is None or one.room in rooms)
        ]

    def answered_again_s(self, since: float, room: str) -> float | None:
        """How long after `since` the first message sent after it was acked."""
        acked = [one.acked_at for one in self.sent if one.room == room and one.sent_at >= since and one.acked_at]
        return min(acked) - since if acked else None


async def _until_connected(person: Person) -> None:
    for _ in range(100):
        if person.socket.connected and "/chat" in person.socket.namespaces:
            return
        await asyncio.sleep(0.1)


def spread(values: list[float], digits: int = 1) -> dict[str, float]:
    """p50, p99 and max of some measurements."""
    if not values:
        return {}
    return {
        "p50": round(percentile(values, 0.5), digits),
        "p99": round(percentile(values, 0.99), digits),
        "max": round(max(values), digits),
    }
