"""What connection state recovery costs: `python -m benchmarks.state_recovery`. One JSON line a case.

Sends messages of one room to its connections through the edge's own `Deliveries`, once to clients without offsets and
once to clients with, in turns, and takes the best of several rounds of each. No server and no socket: the pass over
the connections, encoding and framing. Then it counts the bytes that the edge holds for one such client.
"""

import json
import time
import tracemalloc
from collections.abc import Iterable
from typing import Any

from actors.messages import Delivery
from cluster.kernel.ids import chat_key, new_id
from realtime.deliveries import Deliveries
from realtime.engine.events import JSON, OutgoingEvent
from realtime.engine.port import EncodedEvent
from realtime.offsets import Offsets

_MESSAGES = 30
_ROUNDS = 15
_TRACKED = 10_000
_CASES = ((1, 1_000), (1, 100), (1, 10), (5, 100), (32, 100))


class _Connection:
    """Takes an event as far as its frame, as a websocket's outbox does."""

    __slots__ = ("frame", "id")

    def __init__(self) -> None:
        self.id = ""
        self.frame = b""

    def send(self, event: EncodedEvent) -> None:
        assert isinstance(event, OutgoingEvent)
        self.frame = event.wire(JSON).frame


class _Engine:
    """Encodes as the real one does, and loops over the connections as it does."""

    def encode(self, namespace: str, name: str, *args: Any) -> OutgoingEvent:
        return OutgoingEvent(namespace, name, args)

    def broadcast(self, connections: Iterable[Any], event: EncodedEvent) -> None:
        for connection in connections:
            connection.send(event)


def _deliveries() -> Any:
    made: Any = Deliveries(links=None, resume=print)  # type: ignore[arg-type] - it is asked for neither
    made.engine = _Engine()
    return made


def _delivery(room_id: str, seq: int) -> Delivery:
    body = {
        "roomId": room_id,
        "seq": seq,
        "epoch": 3,
        "id": new_id(),
        "userId": new_id(),
        "text": "Are you coming to the jazz night on the roof?",
        "ts": 1_795_573_269_038,
        "clientMsgId": "5f0f1d7e-9f0a-4f0c-8a52-2a4a6b4d9f10",
    }
    return Delivery(key=str(chat_key(room_id)), name="chat:new_message", body=body, epoch=3, seq=seq)


def _offsets(room_id: str, rooms: int) -> Offsets:
    made = Offsets(max(rooms for rooms, _ in _CASES))
    for other in (room_id, *(new_id() for _ in range(rooms - 1))):
        made.move(other, 1_000)
    return made


def _seconds(deliveries: Any, connections: list[_Connection], room_id: str) -> float:
    sent = [_delivery(room_id, 1_001 + number) for number in range(_MESSAGES)]
    start = time.perf_counter()
    for delivery in sent:
        deliveries.send(connections, delivery)
    return time.perf_counter() - start


def _bytes_each(rooms: int) -> float:
    """Of a client that has joined and got messages, without its rooms' own keys: its offsets and their place."""
    deliveries, room_id = _deliveries(), new_id()
    connections = [_Connection() for _ in range(_TRACKED)]
    _ = deliveries.send(connections, _delivery(room_id, 1))
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for connection in connections:
        deliveries.track(connection, _offsets(room_id, rooms))
    deliveries.send(connections, _delivery(room_id, 2_000))
    for connection in connections:
        connection.frame = b""
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return (after - before) / _TRACKED


def main() -> None:
    for rooms, members in _CASES:
        room_id = new_id()
        plain, tracking = _deliveries(), _deliveries()
        connections = [_Connection() for _ in range(members)]
        for connection in connections:
            tracking.track(connection, _offsets(room_id, rooms))
        rounds = [
            (_seconds(plain, connections, room_id), _seconds(tracking, connections, room_id)) for _ in range(_ROUNDS)
        ]
        bare = len(OutgoingEvent("/chat", "chat:new_message", (_delivery(room_id, 1_030).body,)).wire(JSON).frame)
        shared_us, own_us = (min(each) / (members * _MESSAGES) * 1e6 for each in zip(*rounds, strict=True))
        print(
            json.dumps(
                {
                    "rooms_of_a_connection": rooms,
                    "members_of_the_room": members,
                    "without_offsets_us_a_delivery": round(shared_us, 2),
                    "with_offsets_us_a_delivery": round(own_us, 2),
                    "more_us_a_delivery": round(own_us - shared_us, 2),
                    "more_bytes_on_the_wire": len(connections[0].frame) - bare,
                    "bytes_held_a_connection": round(_bytes_each(rooms)),
                }
            ),
            flush=True,
        )


if __name__ == "__main__":
    main()
