"""The small parts of the edge: expiry, topics, and a key whose host cannot tell what is missing."""

import pytest

from actors.messages import Delivery, Resumed
from cluster.kernel.errors import TOKEN_EXPIRED
from cluster.kernel.ids import new_id
from realtime.admission import SocketBuckets
from realtime.announcements import topics_of
from realtime.auth import Identity
from realtime.expiry import ExpiryWatch
from realtime.limits import EdgeLimits
from realtime.sockets import Socket
from realtime.subscriptions import Subscriptions
from realtime.topics import geohash, interest_topics

LIMITS = EdgeLimits(token_warning_s=60, token_grace_s=10)


class Told:
    """A connection that keeps what it was told."""

    def __init__(self) -> None:
        self.heard: list[object] = []

    def emit(self, name: str, body: object) -> None:
        self.heard.append((name, body))

    def close(self, kind: object) -> None:
        self.heard.append(kind)


def socket(expires_at_ms: int) -> tuple[Socket, Told]:
    told = Told()
    made = Socket("socket", "user", "name", "session", expires_at_ms, SocketBuckets(LIMITS))
    made.connections.add(told)  # type: ignore[arg-type]
    return made, told


def test_a_socket_is_warned_once_and_closed_after_the_grace():
    watch = ExpiryWatch(LIMITS, lambda _: True)
    one, told = socket(1_000_000)
    watch.watch(one)
    watch.tick(939_999)
    assert told.heard == []
    for now in (940_000, 950_000, 1_009_999):
        watch.tick(now)
    assert told.heard == [("auth:expiring", {"expiresAt": 1_000_000})]
    watch.tick(1_010_000)
    assert told.heard[1:] == [TOKEN_EXPIRED]
    assert watch.statistics() == {"tokens_watched": 0, "tokens_expired": 1}


def test_a_renewed_socket_is_warned_anew_and_not_closed():
    watch = ExpiryWatch(LIMITS, lambda _: True)
    one, told = socket(1_000_000)
    watch.watch(one)
    watch.tick(950_000)
    one.renew(Identity("user", "name", "session", "t", 2_000_000))
    watch.tick(1_500_000)
    watch.tick(1_950_000)
    assert told.heard == [
        ("auth:expiring", {"expiresAt": 1_000_000}),
        ("auth:expiring", {"expiresAt": 2_000_000}),
    ]


def test_sockets_that_have_gone_do_not_pile_up():
    live: set[Socket] = set()
    watch = ExpiryWatch(LIMITS, live.__contains__)
    for _ in range(10_000):
        one, _told = socket(1_000_000_000)
        live.clear()
        live.add(one)
        watch.watch(one)
    assert watch.statistics()["tokens_watched"] <= 1_025


@pytest.mark.parametrize(
    ("longitude", "latitude", "cell"),
    [(-5.6, 42.6, "ezs42"), (10.40744, 57.64911, "u4pru"), (0, 0, "s0000"), (180, 90, "zzzzz"), (-180, -90, "00000")],
)
def test_cells_are_geohashes(longitude, latitude, cell):
    assert geohash(longitude, latitude, 5) == cell
    assert geohash(longitude, latitude) == cell[:4]


def test_tags_meet_whatever_their_case_and_are_bounded():
    assert interest_topics([" Jazz", "jazz ", "", "Straße"]) == ["interest:jazz", "interest:strasse"]
    assert len(interest_topics(map(str, range(100)))) == 32


def test_an_event_is_told_in_its_cell_its_category_and_its_tags():
    event = {"category": "Music", "tags": ["jazz", "music"], "location": {"coordinates": [-5.6, 42.6]}}
    assert topics_of(event) == ["location:ezs4", "interest:music", "interest:jazz"]
    assert topics_of({"location": None}) == []


class Sent:
    """An outlet that keeps what passes."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, int]] = []
        self.wanted = 0

    def send(self, connections: object, delivery: Delivery) -> None:
        self.sent.append((delivery.name, delivery.seq))

    def resume(self, key: str) -> None:
        self.wanted += 1

    def unwatch(self, key: str) -> None: ...


def test_a_host_that_never_has_what_is_missing_is_not_asked_for_ever():
    outlet = Sent()
    subscriptions: Subscriptions[str] = Subscriptions(outlet, LIMITS)
    key = f"chat/{new_id()}"
    subscriptions.complete(subscriptions.begin_join("ann", key), 1, 5)
    subscriptions.deliver(Delivery(key=key, name="new", body={}, epoch=1, seq=8))
    for _ in range(10):
        if not subscriptions.begin_resume([key]):
            break
        subscriptions.resumed(Resumed(key=key, epoch=1, seq=5))
    assert outlet.sent == [("chat:resync", 7), ("new", 8)]
    assert outlet.wanted < 6


def test_a_key_that_is_no_more_is_left_by_everyone_and_they_are_told():
    outlet = Sent()
    subscriptions: Subscriptions[str] = Subscriptions(outlet, LIMITS)
    key = f"chat/{new_id()}"
    subscriptions.complete(subscriptions.begin_join("ann", key), 1, 5)
    subscriptions.want_resume(key)
    subscriptions.begin_resume([key])
    assert subscriptions.resumed(Resumed(key=key, epoch=0, seq=0, error="room_not_found"))
    assert outlet.sent == [("chat:resync", 5)]
    assert key not in subscriptions
    assert not subscriptions.is_joined("ann", key)
