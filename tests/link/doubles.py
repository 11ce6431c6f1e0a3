"""What the link's tests put at its two ends: a service that does as it is asked, a listener, and their set-up."""

from typing import Any

import msgspec

from cluster.kernel.errors import TABLE, FlowError
from cluster.kernel.wire import decode
from cluster.link.client import ReconnectingLink
from cluster.link.port import LinkLimits, LinkListener, LinkService, Peer, Request
from cluster.link.server import LinkServer
from tests.support.journal import Journal

SECRET = b"the cluster's own secret"
LONG_S = 30.0


class ScriptedService:
    """Each method is an instruction. `journal` has everything that arrived, in order; `kept` the unanswered."""

    def __init__(self) -> None:
        self.journal = Journal()
        self.kept: list[Request] = []
        self.peers: list[Peer] = []

    def peer_connected(self, peer: Peer) -> None:
        self.peers.append(peer)
        self.journal.add(("connected", peer.name, peer.incarnation))

    def peer_lost(self, peer: Peer) -> None:
        self.peers.remove(peer)
        self.journal.add(("lost", peer.name))

    def note(self, peer: Peer, topic: str, body: msgspec.Raw) -> None:
        self.journal.add(("note", topic, decode(body, Any)))
        if topic == "crash":
            raise RuntimeError("a note of this kind is not expected")

    def request(self, request: Request) -> None:
        body = decode(request.body, Any)
        self.journal.add(("request", request.method, body))
        match request.method:
            case "echo":
                request.reply(request.body)
            case "keep":
                self.kept.append(request)
            case "refuse":
                raise FlowError(TABLE[body], "Refused.", retry_after_ms=7, fields=("a", "b"))
            case "crash":
                raise RuntimeError("a request of this kind is not expected")
            case "zeros":
                request.reply(b"\0" * body)
            case "push":
                for topic in body:
                    assert request.peer.push(topic, topic)
                request.reply(len(body))


class RecordingListener:
    def __init__(self) -> None:
        self.journal = Journal()

    def connected(self) -> None:
        self.journal.add("connected")

    def disconnected(self, reason: str) -> None:
        self.journal.add("disconnected")

    def pushed(self, topic: str, body: msgspec.Raw) -> None:
        self.journal.add((topic, decode(body, Any)))


def a_server(service: LinkService, *, name: str = "host-0", secret: bytes = SECRET, **kwargs: Any) -> LinkServer:
    return LinkServer(secret=secret, name=name, incarnation=f"{name}-a", service=service, **kwargs)


def a_link(
    at: tuple[str, int], listener: LinkListener, *, limits: LinkLimits | None = None, **kwargs: Any
) -> ReconnectingLink:
    arguments: dict[str, Any] = {
        "secret": SECRET,
        "name": "edge-0",
        "incarnation": "edge-0-a",
        "expected_peer": "host-0",
        "address": lambda: at,
    }
    return ReconnectingLink(listener=listener, limits=limits, **(arguments | kwargs))
