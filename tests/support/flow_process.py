"""A whole Flow, as a person starts it: the `flow` command in processes of its own."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import socketio

from tests.support.fake_fcm import FakeFcm

FLOW = Path(sys.executable).parent / "flow"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class FlowProcess:
    """One installation: its port, its data directory and the commands on it."""

    def __init__(self, data_directory: Path, **environment: str) -> None:
        self.data = data_directory
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._environment = {**os.environ, **environment}

    def run(self, *arguments: str, check: bool = True, timeout_s: float = 180) -> subprocess.CompletedProcess[str]:
        """One `flow` command; fails with everything it printed."""
        command = [str(FLOW), *arguments, "--data-dir", str(self.data)]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout_s, env=self._environment, check=False
        )
        if check and done.returncode != 0:
            raise AssertionError(f"{command} exited {done.returncode}\n{done.stdout}\n{done.stderr}\n{self.tail()}")
        return done

    def up(self, *arguments: str) -> None:
        self.run("up", "--detach", "--port", str(self.port), *arguments)

    def down(self) -> None:
        self.run("down", check=False)

    def status(self) -> dict[str, Any]:
        return json.loads(self.run("status", "--json").stdout)

    async def until_running(self, *names: str, patience_s: float = 90.0) -> None:
        """Until `flow status` says of every one of these members that it runs; fails with what it said last."""
        until = time.monotonic() + patience_s
        while True:
            states = {member["name"]: member["state"] for member in (await asyncio.to_thread(self.status))["members"]}
            if all(states.get(name) == "running" for name in names):
                return
            assert time.monotonic() < until, f"not all of {names} run: {states}\n{self.tail()}"

    def token(self, username: str) -> str:
        return self.run("token", username).stdout.strip()

    def kill(self, name: str) -> int:
        """kill -9 one actor's process by its name in `flow status`; returns the process id it had."""
        pid = self.pid(name)
        os.kill(pid, signal.SIGKILL)
        return pid

    def pid(self, name: str) -> int:
        [pid] = [part["pid"] for part in self.status()["processes"] if part["name"] == name]
        return int(pid)

    def tail(self) -> str:
        """The end of each log, for a failure's message."""
        logs = sorted((self.data / "logs").glob("*.log"))
        return "\n".join(f"--- {log.name}\n{log.read_text(errors='replace')[-3000:]}" for log in logs)


@contextlib.contextmanager
def fcm_in_a_thread() -> Iterator["FcmThread"]:
    """A stand-in FCM server on a loop of its own, so that it outlives any one test's loop."""
    thread = FcmThread()
    try:
        yield thread
    finally:
        thread.stop()


class FcmThread:
    def __init__(self) -> None:
        self.fake = FakeFcm()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fake-fcm")
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self.fake.start(), self._loop).result(10)

    async def wait_for(self, wanted: Callable[[dict[str, Any]], bool], timeout_s: float = 30.0) -> dict[str, Any]:
        """The first accepted message that is wanted."""
        future = asyncio.run_coroutine_threadsafe(self.fake.wait_for_body(wanted, timeout_s), self._loop)
        return await asyncio.wrap_future(future)

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self.fake.stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


class Person:
    """A signed-in person: HTTP, and one Socket.IO client with every event kept in order."""

    def __init__(self, flow: FlowProcess, username: str, token: str, user_id: str) -> None:
        self.username, self.token, self.id = username, token, user_id
        self.http = aiohttp.ClientSession(flow.url, headers={"Authorization": f"Bearer {token}"})
        # A session of our own: the client leaves one of its own open whenever it fails to connect.
        self._socket_http = aiohttp.ClientSession()
        self.socket = socketio.AsyncClient(
            reconnection=True, reconnection_delay=0.1, reconnection_delay_max=0.5, http_session=self._socket_http
        )
        self.events: list[tuple[str, Any]] = []
        self._url = flow.url
        self._changed = asyncio.Condition()

    @classmethod
    async def register(cls, flow: FlowProcess, **profile: Any) -> "Person":
        username = f"p{uuid.uuid4().hex[:12]}"
        body = {"username": username, "password": "correct horse battery staple", **profile}
        async with aiohttp.ClientSession(flow.url) as http, http.post("/v1/auth/register", json=body) as response:
            answer = await response.json()
            assert response.status in (200, 201), answer
        return cls(flow, username, answer["accessToken"], answer["user"]["id"])

    async def call_http(self, method: str, path: str, body: Any = None, **params: Any) -> Any:
        """The answer of a request that must succeed."""
        async with self.http.request(method, path, json=body, params=params or None) as response:
            answer = await response.json() if response.content_type.endswith("json") else await response.text()
            assert response.status < 300, (method, path, response.status, answer)
            return answer

    async def connect(self, *namespaces: str, transports: tuple[str, ...] = ("websocket",)) -> None:
        for namespace in namespaces:
            self.socket.on("*", self._keep, namespace=namespace)
        await self.socket.connect(
            self._url, auth={"token": self.token}, namespaces=list(namespaces), transports=list(transports)
        )

    async def _keep(self, name: str, *args: Any) -> None:
        async with self._changed:
            self.events.append((name, args[0] if args else None))
            self._changed.notify_all()

    async def ask(self, namespace: str, name: str, payload: Any, timeout_s: float = 15) -> dict[str, Any]:
        answer: dict[str, Any] = await self.socket.call(name, payload, namespace=namespace, timeout=timeout_s)
        return answer

    async def say(self, room_id: str, text: str, client_message_id: str | None = None) -> dict[str, Any]:
        message = {"roomId": room_id, "text": text, "clientMsgId": client_message_id or str(uuid.uuid4())}
        return await self.ask("/chat", "chat:send_message", message)

    async def wait_for(self, name: str, wanted: Callable[[Any], bool] = bool, timeout_s: float = 20) -> Any:
        """The first event of that name that is wanted, whether it came already or comes yet."""

        def found() -> list[Any]:
            return [body for event, body in self.events if event == name and wanted(body)]

        async with self._changed:
            try:
                async with asyncio.timeout(timeout_s):
                    await self._changed.wait_for(found)
            except TimeoutError:
                raise AssertionError(f"no {name} came; {self.events[-20:]}") from None
        return found()[0]

    async def leave(self) -> None:
        """Let the socket go, also while its client tries to come back; `connect` may follow."""
        self.socket.reconnection = False  # no new attempt; one that is already a task takes its first step below,
        await asyncio.sleep(0)  # before which it cannot be called off
        await self.socket.shutdown()  # alone it leaves the last attempt connected
        await self.socket.disconnect()
        self.socket.reconnection = True

    async def close(self) -> None:
        await self.leave()
        await self._socket_http.close()
        await self.http.close()


def new_event(**changes: Any) -> dict[str, Any]:
    return {
        "title": f"Jazz night {uuid.uuid4().hex[:6]}",
        "description": "Bring a cushion.",
        "category": "music",
        "tags": ["jazz"],
        "datetime": {"start": "2030-06-01T18:00:00Z", "end": "2030-06-01T22:00:00Z", "timezone": "Europe/Berlin"},
        "location": {"type": "Point", "coordinates": [13.405, 52.52], "address": "Berlin", "venue": "The roof"},
        "capacity": {"max": 2},
        "visibility": "public",
        **changes,
    }
