"""Who is there: people, the rooms they are in, and events with fewer places than people. From the seed alone."""

import asyncio
import random
import uuid
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from tests.chaos.options import Options, Person
from tests.support.flow_process import new_event

PLACES = 5
_AT_ONCE = 4
_TRANSPORTS = (("websocket",), ("polling",), ("polling", "websocket"), ("websocket",))


class World(msgspec.Struct, frozen=True):
    """`capacity` of each event; `people` in the order of their names."""

    people: tuple[Person, ...]
    capacity: dict[str, int]


async def build(url: str, options: Options, directory: Path) -> World:
    """Register everybody and make their rooms, over HTTP as anyone would."""
    choice = random.Random(f"world {options.seed}")
    count = options.phones + options.javascript_phones
    async with aiohttp.ClientSession(url) as http:
        gate = asyncio.Semaphore(_AT_ONCE)
        accounts = await asyncio.gather(*(_register(http, gate, index) for index in range(count)))
        events = [await _make_event(http, accounts[0]["token"]) for _ in range(4)]
        rooms: dict[str, list[int]] = {
            f"event:{event}": choice.sample(range(count), max(2, count // 2)) for event in events
        }
        for _ in range(4):
            members = choice.sample(range(count), min(count, 6))
            rooms[await _make_group(http, [accounts[index] for index in members])] = members
        for _ in range(4):
            pair = choice.sample(range(count), 2)
            first, second = sorted(accounts[index]["user"] for index in pair)
            rooms[f"dm:{first}:{second}"] = pair
    people = [
        Person(
            name=f"phone-{index:02}",
            user=account["user"],
            token=account["token"],
            transports=_TRANSPORTS[index % len(_TRANSPORTS)],
            rooms=tuple(room for room, members in rooms.items() if index in members) or (f"event:{events[0]}",),
            events=tuple(events),
            history=str(directory / f"phone-{index:02}.jsonl"),
        )
        for index, account in enumerate(accounts)
    ]
    return World(tuple(people), dict.fromkeys(events, PLACES))


async def _register(http: aiohttp.ClientSession, gate: asyncio.Semaphore, index: int) -> dict[str, str]:
    body = {"username": f"p{index}x{uuid.uuid4().hex[:8]}", "password": "correct horse battery staple"}
    async with gate:
        answer = await _post(http, "/v1/auth/register", body)
    return {"token": answer["accessToken"], "user": answer["user"]["id"]}


async def _make_event(http: aiohttp.ClientSession, token: str) -> str:
    return str((await _post(http, "/v1/events", new_event(capacity={"max": PLACES}), token))["id"])


async def _make_group(http: aiohttp.ClientSession, accounts: list[dict[str, str]]) -> str:
    body = {"name": "A group", "memberIds": [account["user"] for account in accounts[1:]]}
    return str((await _post(http, "/v1/rooms", body, accounts[0]["token"]))["id"])


async def _post(http: aiohttp.ClientSession, path: str, body: dict[str, Any], token: str = "") -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with http.post(path, json=body, headers=headers) as response:
        answer: dict[str, Any] = await response.json()
        assert response.status < 300, (path, response.status, answer)
        return answer
