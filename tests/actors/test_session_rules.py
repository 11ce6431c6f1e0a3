"""The session's rules under any interleaving: one notification per id, the badge, and who is live."""

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from actors.effects import Effects, Envelope
from actors.facts import Fact, MarkedRead, NotificationsPage
from actors.limits import RoomLimits
from actors.messages import (
    AttachConnection,
    DetachConnection,
    ListNotifications,
    Notify,
    Position,
    ReadNotification,
)
from actors.user_session import EdgeLost, UserSession
from cluster.kernel.errors import FORBIDDEN, INVALID_REQUEST, OVERLOADED, TOO_LARGE, FlowError
from storage.records import Notification
from tests.actors.rules import decide

ME = "a" * 24
LIMITS = RoomLimits(known_notifications=3, idle_known_notifications=1, max_connections_a_session=4)


class Box:
    """What storage would hold of one person's notifications."""

    def __init__(self) -> None:
        self.rows: dict[str, Notification] = {}
        self.read: set[str] = set()
        self.epoch = 0

    @property
    def unread(self) -> int:
        return len(self.rows) - len(self.read)

    def load(self) -> UserSession:
        self.epoch += 1
        return UserSession(ME, self.epoch, self.unread, LIMITS)

    def find(self, fact: Fact) -> Any:
        match fact:
            case MarkedRead(notification_id=wanted):
                was_unread = wanted not in self.read
                self.read.add(wanted)
                return was_unread
            case NotificationsPage(limit=limit):
                return list(reversed(self.rows.values()))[:limit]
        raise AssertionError(fact)


class SessionRules(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.box = Box()
        self.session = self.box.load()
        self.live: set[tuple[str, str]] = set()
        self.lives: dict[str, bool] = {}
        self.seen_seq, self.seen_unread = 0, 0

    def ask(self, body: Any, edge: str = "e1", connection: str = "c1", *, duplicate: bool = False) -> Effects:
        envelope = Envelope(body, ME, connection, edge, now_ms=1_000)
        envelope.duplicate = duplicate
        effects = decide(self.session, envelope, self.box.find)
        for fan_out in effects.fan_outs:
            assert fan_out.seq == self.seen_seq + 1
            self.seen_seq = fan_out.seq
            if fan_out.name == "notification:badge":
                self.seen_unread = fan_out.body["unread"]
        return effects

    @rule(edge=st.sampled_from(["e1", "e2"]), connection=st.sampled_from(["c1", "c2", "c3"]))
    def attach(self, edge: str, connection: str) -> None:
        if (edge, connection) not in self.live and len(self.live) >= LIMITS.max_connections_a_session:
            with pytest.raises(FlowError) as caught:
                self.ask(AttachConnection(), edge, connection)
            assert caught.value.kind is OVERLOADED
            return
        reply = self.ask(AttachConnection(), edge, connection).reply
        self.live.add((edge, connection))
        assert (reply.epoch, reply.unread) == (self.box.epoch, self.box.unread)
        self.seen_seq, self.seen_unread = reply.seq, reply.unread

    @rule(edge=st.sampled_from(["e1", "e2"]), connection=st.sampled_from(["c1", "c2", "c3"]))
    def detach(self, edge: str, connection: str) -> None:
        self.ask(DetachConnection(), edge, connection)
        self.live.discard((edge, connection))

    @rule(edge=st.sampled_from(["e1", "e2"]))
    def lose_edge(self, edge: str) -> None:
        self.ask(EdgeLost(), edge, "")
        self.live = {one for one in self.live if one[0] != edge}

    @rule(number=st.integers(0, 12))
    def notify(self, number: int) -> None:
        body = Notify(id=f"n{number}", type="t", title="T", body="B", data={})
        effects = self.ask(body) if body.id not in self.box.rows or body.id in self.session.told else None
        if effects is None:
            # Storage would refuse the row; the key is then read again and the command decided as a duplicate.
            self.reload()
            effects = self.ask(body, duplicate=True)
            assert effects.reply.live is False
        elif effects.rows:
            assert effects.reply.live == bool(self.live)
            self.lives[body.id] = effects.reply.live
        else:
            assert effects.reply.live == self.lives[body.id]
        for row in effects.rows:
            assert isinstance(row, Notification)
            assert row.id not in self.box.rows
            self.box.rows[row.id] = row
        assert [f.name for f in effects.fan_outs] == (
            ["notification:new", "notification:badge"] if effects.rows else []
        )

    @precondition(lambda self: self.box.rows)
    @rule(data=st.data())
    def read(self, data: st.DataObject) -> None:
        wanted = data.draw(st.sampled_from(sorted(self.box.rows)))
        assert self.ask(ReadNotification(id=wanted)).reply.unread == self.box.unread

    @rule(limit=st.integers(1, 5))
    def list_page(self, limit: int) -> None:
        reply = self.ask(ListNotifications(limit=limit)).reply
        assert [item["id"] for item in reply.items] == list(reversed(self.box.rows))[:limit]
        assert reply.unread == self.box.unread

    @rule()
    def reload(self) -> None:
        before = self.session
        self.session = self.box.load()
        self.session.inherit(before)
        resumed = self.ask(Position(key=self.session.key, epoch=before.epoch, seq=before.seq)).reply
        assert resumed.reset
        self.seen_seq, self.seen_unread = resumed.seq, resumed.missed[0].body["unread"]

    @rule()
    def trim(self) -> None:
        self.session.trim()

    @invariant()
    def holds(self) -> None:
        assert self.session.is_live() == bool(self.live)
        assert self.session.unread == self.box.unread == self.seen_unread
        assert len(self.session.told) <= LIMITS.known_notifications
        assert len(self.session.connections) <= LIMITS.max_connections_a_session


SessionRules.TestCase.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
TestSessionRules = SessionRules.TestCase


@pytest.mark.parametrize(
    ("body", "user", "kind"),
    [
        (ListNotifications(limit=0), ME, INVALID_REQUEST),
        (ListNotifications(limit=101), ME, INVALID_REQUEST),
        (ListNotifications(), "b" * 24, FORBIDDEN),
        (ReadNotification(id="n"), "b" * 24, FORBIDDEN),
        (AttachConnection(), "b" * 24, FORBIDDEN),
        (Notify(id="n", type="t", title="T", body="B" * 3_000, data={}), "", TOO_LARGE),
    ],
)
def test_what_is_not_ones_own_or_out_of_bounds_is_refused(body: Any, user: str, kind: Any) -> None:
    box = Box()
    with pytest.raises(FlowError) as caught:
        decide(box.load(), Envelope(body, user, "c", "e"), box.find)
    assert caught.value.kind is kind
