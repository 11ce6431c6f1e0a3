"""Stock python-socketio on aiohttp and uvloop, in one process: what Flow's engine is measured against in Python.

Run as `python -m benchmarks.peers.stock_socketio PORT`. It speaks the part of Flow's contract that the load generator
uses and stores nothing. aiohttp's deflate is left as python-engineio sets it: on, for a client that offers it. As many
connections as Flow's edge lets wait may wait here, not aiohttp's 128: whoever finds no place may be reset.
"""

import sys
import time
from collections import defaultdict
from secrets import token_hex
from typing import Any

import socketio
import uvloop
from aiohttp import web

sio = socketio.AsyncServer(async_mode="aiohttp", transports=["websocket"])
positions: defaultdict[str, int] = defaultdict(int)
people: dict[str, str] = {}


@sio.on("connect", namespace="/chat")
async def connect(sid: str, environ: dict[str, Any], auth: dict[str, Any] | None) -> None:
    people[sid] = (auth or {}).get("userId", sid)


@sio.on("disconnect", namespace="/chat")
async def disconnect(sid: str, reason: str) -> None:
    del people[sid]


@sio.on("chat:join_room", namespace="/chat")
async def join_room(sid: str, room_id: str) -> dict[str, Any]:
    await sio.enter_room(sid, room_id, namespace="/chat")
    return {"ok": True, "epoch": 1, "seq": positions[room_id], "recovered": False, "messages": []}


@sio.on("chat:send_message", namespace="/chat")
async def send_message(sid: str, message: dict[str, Any]) -> dict[str, Any]:
    room_id = message["roomId"]
    positions[room_id] += 1
    kept = {"seq": positions[room_id], "epoch": 1, "id": token_hex(12), "ts": int(time.time() * 1000)}
    told = {
        "roomId": room_id,
        "seq": kept["seq"],
        "epoch": 1,
        "id": kept["id"],
        "userId": people[sid],
        "text": message["text"],
        "ts": kept["ts"],
        "clientMsgId": message["clientMsgId"],
    }
    await sio.emit("chat:new_message", told, room=room_id, namespace="/chat")
    return {"ok": True, **kept}


async def application() -> web.Application:
    app = web.Application()
    sio.attach(app)
    print("ready", flush=True)
    return app


if __name__ == "__main__":
    uvloop.install()
    web.run_app(application(), host="127.0.0.1", port=int(sys.argv[1]), backlog=1_024, print=None)
