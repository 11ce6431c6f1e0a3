"""Log in, follow an event, talk in its chat, see a recommendation. Usage: first_message.py [url] [username]"""

import asyncio
import sys
import uuid
from typing import Any

import aiohttp
import socketio

URL = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8080"
USERNAME = sys.argv[2] if len(sys.argv) > 2 else f"guest{uuid.uuid4().hex[:6]}"
PASSWORD = "correct horse battery staple"


async def log_in(http: aiohttp.ClientSession) -> str:
    """An access token: by login, or by registration when nobody has that name yet."""
    credentials = {"username": USERNAME, "password": PASSWORD}
    async with http.post("/v1/auth/login", json=credentials) as response:
        if response.status == 200:
            return (await response.json())["accessToken"]
    async with http.post("/v1/auth/register", json={**credentials, "interests": ["python"]}) as response:
        response.raise_for_status()
        return (await response.json())["accessToken"]


async def an_event(http: aiohttp.ClientSession) -> dict[str, Any]:
    """The first event there is, or a new one."""
    async with http.get("/v1/events", params={"limit": 1}) as response:
        items = (await response.json())["items"]
        if items:
            return items[0]
    event = {
        "title": "Python by the river",
        "description": "Talks, then a walk.",
        "category": "tech",
        "tags": ["python"],
        "datetime": {"start": "2030-06-01T16:00:00Z", "end": "2030-06-01T19:00:00Z", "timezone": "Europe/Berlin"},
        "location": {"type": "Point", "coordinates": [13.405, 52.52], "address": "Berlin", "venue": "The quay"},
        "capacity": {"max": 50},
        "visibility": "public",
    }
    async with http.post("/v1/events", json=event) as response:
        response.raise_for_status()
        return await response.json()


async def main() -> None:
    async with aiohttp.ClientSession(URL) as http:
        token = await log_in(http)
        http.headers["Authorization"] = f"Bearer {token}"
        event = await an_event(http)
        room_id = f"event:{event['id']}"
        socket = socketio.AsyncClient()
        received: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        socket.on("chat:new_message", lambda message: received.done() or received.set_result(message), "/chat")
        await socket.connect(URL, auth={"token": token}, namespaces=["/events", "/chat"], transports=["websocket"])
        await socket.call("event:join_updates", event["id"], namespace="/events")
        joined = await socket.call("chat:join_room", room_id, namespace="/chat")
        print(f"joined {event['title']}: {len(joined['messages'])} messages so far")
        message = {"roomId": room_id, "text": "Hello from Python", "clientMsgId": str(uuid.uuid4())}
        sent = await socket.call("chat:send_message", message, namespace="/chat")
        print(f"sent as seq {sent['seq']}, received: {(await received)['text']}")
        params = {"type": "ai_personalized", "limit": 3}
        async with http.get("/v1/recommendations", params=params) as response:
            picks = await response.json()
        print("recommended (fallback):" if picks["fallback"] else "recommended:", [i["title"] for i in picks["items"]])
        await socket.disconnect()


asyncio.run(main())
