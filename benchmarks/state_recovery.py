"""What connection state recovery costs a delivery: `python -m benchmarks.state_recovery`. One JSON line a case.

Encodes one room message for a hundred connections, once for all and with each connection's own offset, in turns, and
takes the best of several rounds of each. No server and no socket: encoding and framing alone.
"""

import json
import time
from collections.abc import Callable

from cluster.kernel.ids import new_id
from realtime.engine.events import JSON, OutgoingEvent
from realtime.offsets import Offsets

_CONNECTIONS = 100
_MESSAGES = 100
_ROUNDS = 9
_ROOMS = (1, 5, 32)


def _event(room_id: str, seq: int) -> OutgoingEvent:
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
    return OutgoingEvent("/chat", "chat:new_message", (body,))


def _shared(room_id: str) -> int:
    size = 0
    for seq in range(_MESSAGES):
        event = _event(room_id, seq)
        for _ in range(_CONNECTIONS):
            size = len(event.wire(JSON).frame)
    return size


def _with_offsets(room_id: str, offsets: list[Offsets]) -> int:
    size = 0
    for seq in range(_MESSAGES):
        event = _event(room_id, seq)
        for own in offsets:
            size = len(event.wire_with(JSON, own.move(room_id, seq)).frame)
    return size


def _connections(room_id: str, rooms: int) -> list[Offsets]:
    made = []
    for _ in range(_CONNECTIONS):
        offsets = Offsets(max(_ROOMS))
        for other in (room_id, *(new_id() for _ in range(rooms - 1))):
            offsets.move(other, 1_000)
        made.append(offsets)
    return made


def _seconds(work: Callable[[], int]) -> tuple[float, int]:
    start = time.perf_counter()
    size = work()
    return time.perf_counter() - start, size


def main() -> None:
    room_id = new_id()
    for rooms in _ROOMS:
        offsets = _connections(room_id, rooms)
        shared, own = [], []
        for _ in range(_ROUNDS):
            shared.append(_seconds(lambda: _shared(room_id)))
            own.append(_seconds(lambda offsets=offsets: _with_offsets(room_id, offsets)))
        deliveries = _CONNECTIONS * _MESSAGES
        print(
            json.dumps(
                {
                    "rooms_of_the_connection": rooms,
                    "shared_us_a_delivery": round(min(shared)[0] / deliveries * 1e6, 2),
                    "with_offset_us_a_delivery": round(min(own)[0] / deliveries * 1e6, 2),
                    "shared_bytes": shared[0][1],
                    "with_offset_bytes": own[0][1],
                }
            )
        )


if __name__ == "__main__":
    main()
