"""A host, a link and an edge's subscriptions as one deterministic machine, for property tests.

The link is a FIFO that may lose and repeat pushes and may break; nothing else is assumed of it. The host numbers what
it publishes, answers joins and resumes, and can lose its memory (a new epoch).
"""

from collections import deque
from collections.abc import Collection
from typing import Any

from actors.messages import Delivery, Position, Resumed
from cluster.kernel.errors import FlowError
from realtime.limits import EdgeLimits
from realtime.subscriptions import JoinTicket, Subscriptions

RESUME_WINDOW = 4


class Client:
    """What one connection saw, and the rules it must see it by."""

    def __init__(self, name: str, *, chat: bool) -> None:
        self.name = name
        self.chat = chat
        self.at: tuple[int, int] | None = None
        self.joining = 0
        self.trail: list[Any] = []

    def joined(self, epoch: int, seq: int) -> None:
        self.at = (0 if self.chat else epoch, seq)
        self.trail.append(("joined", epoch, seq))

    def receive(self, delivery: Delivery) -> None:
        self.trail.append((delivery.name, delivery.epoch, delivery.seq))
        assert self.at is not None, f"{self.name} got something before its join was answered: {self.trail}"
        assert not self.joining, f"{self.name} got something while it joins again: {self.trail}"
        rank = (0 if self.chat else delivery.epoch, delivery.seq)
        if delivery.name in ("chat:resync", "snapshot"):
            assert rank > self.at or self.chat, f"{self.name} went back: {self.trail}"
            self.at = max(rank, self.at) if self.chat else rank
            return
        assert rank == (self.at[0], self.at[1] + 1), f"{self.name} has a hole or a repeat: {self.trail}"
        self.at = rank


class Model:
    """Drives one key. `key` decides whether it is a chat room."""

    def __init__(self, key: str, limits: EdgeLimits) -> None:
        self.key = key
        self.chat = key.startswith("chat/")
        self.subscriptions: Subscriptions[str] = Subscriptions(self, limits)
        self.clients: dict[str, Client] = {}
        self.tickets: dict[int, JoinTicket[str]] = {}
        self.to_host: deque[tuple[Any, ...]] = deque()
        self.to_edge: deque[tuple[Any, ...]] = deque()
        self.replies: deque[tuple[Any, ...]] = deque()
        self.joined: set[str] = set()
        self.lost = False
        self.moved = False
        self.wanted = False
        self.resuming = False
        self.asked = 0
        self.epoch, self.seq = 1, 0
        self.log: list[Delivery] = []
        self.watched = False

    # The outlet.
    def send(self, connections: Collection[str], delivery: Delivery) -> None:
        for connection in connections:
            self.clients[connection].receive(delivery)

    def resume(self, key: str) -> None:
        assert key == self.key
        self.wanted = True

    def unwatch(self, key: str) -> None:
        self.to_host.append(("unwatch",))

    # What clients do.
    def join(self, name: str) -> None:
        client = self.clients.setdefault(name, Client(name, chat=self.chat))
        client.joining += 1
        self.asked += 1
        self.tickets[self.asked] = self.subscriptions.begin_join(client.name, self.key)
        self.to_host.append(("join", self.asked))

    def leave(self, name: str) -> None:
        self.subscriptions.leave(name, self.key)
        self.joined.discard(name)
        if name in self.clients:
            self.clients[name] = Client(name, chat=self.chat)

    # What the host does.
    def publish(self) -> None:
        self.seq += 1
        delivery = Delivery(key=self.key, name="new", body={}, epoch=self.epoch, seq=self.seq)
        self.log.append(delivery)
        if self.watched:
            self.to_edge.append(("push", delivery))

    def new_epoch(self) -> None:
        """The owner was replaced by one that remembers messages (chat) or only the state (anything else)."""
        self.epoch += 1
        if not self.chat:
            self.seq = 0
            self.log.clear()
        self.break_link()

    def host_step(self) -> None:
        if not self.to_host:
            return
        what, *rest = self.to_host.popleft()
        if what == "unwatch":
            self.watched = False
        elif what == "join":
            self.watched = True
            self.to_edge.append(("joined", rest[0], self.epoch, self.seq))
        else:
            self.watched = True
            self.to_edge.append(("resumed", self.answer(rest[0])))

    def stale_host_step(self) -> None:
        """An owner that is one no more answers. The edge will hear of the new owner in the end."""
        if self.to_host and self.to_host[0][0] == "join":
            _, asked = self.to_host.popleft()
            self.to_edge.append(("joined", asked, self.epoch, max(0, self.seq - 2)))
            self.moved = True
        elif self.to_host and self.to_host[0][0] == "resume" and self.to_host[0][1].epoch == self.epoch:
            self.to_host.popleft()
            stale = Resumed(key=self.key, epoch=self.epoch - 1, seq=max(0, self.seq - 2), reset=True)
            self.to_edge.append(("resumed", stale))
            self.moved = True

    def answer(self, position: Position) -> Resumed:
        known = self.chat or position.epoch == self.epoch
        missed = tuple(delivery for delivery in self.log if delivery.seq > position.seq) if known else ()
        if known and len(missed) <= RESUME_WINDOW:
            return Resumed(key=self.key, epoch=self.epoch, seq=self.seq, missed=missed)
        snapshot = () if self.chat else (Delivery(key=self.key, name="snapshot", body={}),)
        return Resumed(key=self.key, epoch=self.epoch, seq=self.seq, missed=snapshot, reset=True)

    # What the link and the edge do.
    def edge_step(self) -> None:
        """Pushes are handled as they are read; a reply wakes a task, which runs later."""
        if not self.to_edge:
            return
        item = self.to_edge.popleft()
        if item[0] == "push":
            self.subscriptions.deliver(item[1])
        else:
            self.replies.append(item)

    def task_step(self) -> None:
        if not self.replies:
            return
        what, *rest = self.replies.popleft()
        if what == "joined":
            self.complete(*rest)
        else:
            self.resuming = False
            if not self.subscriptions.resumed(rest[0]):
                self.wanted = True

    def complete(self, asked: int, epoch: int, seq: int) -> None:
        ticket = self.tickets.pop(asked)
        name = ticket.connection
        current = name in ticket.watched and ticket.watched._joiners.get(name) is ticket.joiner
        client = self.clients[name]
        if current:
            client.joining -= 1
        try:
            backlog = self.subscriptions.complete(ticket, epoch, seq)
        except FlowError:
            return
        if not current:
            assert not backlog
            return
        self.joined.add(name)
        client.joined(epoch, seq)
        for delivery in backlog:
            client.receive(delivery)

    def ask(self) -> None:
        if not self.wanted or self.resuming:
            return
        self.wanted = False
        for position in self.subscriptions.begin_resume([self.key]):
            self.resuming = True
            self.to_host.append(("resume", position))

    def lose(self, index: int) -> None:
        pushes = [place for place, item in enumerate(self.to_edge) if item[0] == "push"]
        if pushes:
            self.lost = True
            del self.to_edge[pushes[index % len(pushes)]]

    def repeat(self, index: int) -> None:
        pushes = [item for item in self.to_edge if item[0] == "push"]
        if pushes:
            self.to_edge.append(pushes[index % len(pushes)])

    def break_link(self) -> None:
        """Everything under way is lost, the host forgets that this edge watches, joins fail, resumes fail.

        A reply that was read already still counts.
        """
        self.to_host.clear()
        self.to_edge.clear()
        self.watched = False
        answered = {item[1] for item in self.replies if item[0] == "joined"}
        for asked in [asked for asked in self.tickets if asked not in answered]:
            self.fail(self.tickets.pop(asked))
        if self.resuming and not any(item[0] == "resumed" for item in self.replies):
            self.resuming = False
            self.subscriptions.resume_failed(self.key)
            self.wanted = True
        self.subscriptions.want_resume(self.key)

    def fail(self, ticket: JoinTicket[str]) -> None:
        if ticket.watched._joiners.get(ticket.connection) is ticket.joiner:
            self.clients[ticket.connection].joining -= 1
        self.subscriptions.fail(ticket)

    def settle(self) -> None:
        """Let everything arrive. What a link lost without breaking is noticed with the next message."""
        if self.moved:
            self.subscriptions.want_resume(self.key)
        self.rest()
        if self.lost:
            self.publish()
            self.rest()

    def rest(self) -> None:
        for _ in range(2_000):
            self.ask()
            self.host_step()
            self.edge_step()
            self.task_step()
            if not (self.to_host or self.to_edge or self.replies or (self.wanted and self.subscriptions.keys())):
                return
        raise AssertionError("it never comes to rest")
