"""How long one message takes: a sender's emit to another client's receipt, with the durable write between.

One message at a time, on a Flow of its own, with the client library that people use.
"""

import asyncio
import time
import uuid
from typing import Any

from benchmarks.outcome import Options, Outcome
from benchmarks.percentiles import percentile
from tests.support.flow_process import FlowProcess, Person, new_event

WARM_UP = 50
MESSAGES = 400
PAUSE_S = 0.025  # under the default limit of 50 messages a second


async def measure(flow: FlowProcess) -> dict[str, Any]:
    """Milliseconds from emit to receipt, and from emit to ack, p50 and p99."""
    ada, bob = await Person.register(flow), await Person.register(flow)
    room_id = f"event:{(await ada.call_http('POST', '/v1/events', new_event()))['id']}"
    received: asyncio.Queue[float] = asyncio.Queue(1)
    for someone in (ada, bob):
        await someone.connect("/chat")
        await someone.ask("/chat", "chat:join_room", room_id)
    bob.socket.on("chat:new_message", lambda _: received.put_nowait(time.perf_counter()), namespace="/chat")
    delivered, acked = [], []
    for index in range(WARM_UP + MESSAGES):
        message = {"roomId": room_id, "text": f"message {index}", "clientMsgId": str(uuid.uuid4())}
        started = time.perf_counter()
        answer = await ada.socket.call("chat:send_message", message, namespace="/chat")
        acked_at = time.perf_counter()
        assert answer["ok"], answer
        received_at = await received.get()
        if index >= WARM_UP:
            delivered.append((received_at - started) * 1000)
            acked.append((acked_at - started) * 1000)
        await asyncio.sleep(PAUSE_S)
    await ada.close()
    await bob.close()
    return {
        "messages": MESSAGES,
        "delivered_ms_p50": round(percentile(delivered, 0.5), 2),
        "delivered_ms_p99": round(percentile(delivered, 0.99), 2),
        "acked_ms_p50": round(percentile(acked, 0.5), 2),
        "acked_ms_p99": round(percentile(acked, 0.99), 2),
    }


def run(options: Options) -> Outcome:
    with options.directory() as directory:
        flow = FlowProcess(directory)
        flow.up("--no-recommender")
        try:
            return Outcome("first_message", [asyncio.run(measure(flow))])
        finally:
            flow.down()
