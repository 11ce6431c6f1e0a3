"""The mutual proof, without sockets."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.link.handshake import DialerHandshake, HandshakeFailed, Identity, ListenerHandshake, check_secret
from tests.link.doubles import SECRET

EDGE = Identity("edge-0", "edge-0-a")
HOST = Identity("host-0", "host-0-a")
OTHER_SECRET = b"another cluster's secret"


def on_wire(frame: Any) -> bytes:
    return msgspec.msgpack.encode(frame)


def a_dialer(secret: bytes = SECRET, expected: str | None = "host-0") -> DialerHandshake:
    return DialerHandshake(secret, EDGE, expected)


def test_two_that_hold_the_secret_know_each_other() -> None:
    dialer, listener = a_dialer(), ListenerHandshake(SECRET, HOST)
    challenge = listener.receive(on_wire(dialer.hello()))
    proof = dialer.receive(on_wire(challenge))
    assert (dialer.peer, listener.peer) == (None, None)
    welcome = listener.receive(on_wire(proof))
    assert dialer.receive(on_wire(welcome)) is None
    assert (dialer.peer, listener.peer) == (HOST, EDGE)


def test_a_dialer_without_the_secret_is_refused() -> None:
    dialer, listener = a_dialer(OTHER_SECRET), ListenerHandshake(SECRET, HOST)
    proof = dialer.receive(on_wire(listener.receive(on_wire(dialer.hello()))))
    with pytest.raises(HandshakeFailed):
        listener.receive(on_wire(proof))
    assert listener.peer is None


def test_a_listener_without_the_secret_is_refused() -> None:
    dialer = a_dialer()
    # It cannot check the proof, so it goes on as if it had.
    impostor = ListenerHandshake(OTHER_SECRET, HOST)
    dialer.receive(on_wire(impostor.receive(on_wire(dialer.hello()))))
    with pytest.raises(HandshakeFailed):
        dialer.receive(on_wire(("welcome", b"\0" * 32)))
    assert dialer.peer is None


def test_a_recorded_dialer_opens_no_second_link() -> None:
    dialer, listener = a_dialer(), ListenerHandshake(SECRET, HOST)
    hello = on_wire(dialer.hello())
    proof = on_wire(dialer.receive(on_wire(listener.receive(hello))))
    listener.receive(proof)
    second = ListenerHandshake(SECRET, HOST)
    second.receive(hello)
    with pytest.raises(HandshakeFailed):
        second.receive(proof)


def test_a_recorded_listener_answers_no_second_dial() -> None:
    first, listener = a_dialer(), ListenerHandshake(SECRET, HOST)
    challenge = on_wire(listener.receive(on_wire(first.hello())))
    welcome = on_wire(listener.receive(on_wire(first.receive(challenge))))
    second = a_dialer()
    second.receive(challenge)
    with pytest.raises(HandshakeFailed):
        second.receive(welcome)


def test_a_proof_sent_back_is_no_welcome() -> None:
    dialer, listener = a_dialer(), ListenerHandshake(SECRET, HOST)
    proof = dialer.receive(on_wire(listener.receive(on_wire(dialer.hello()))))
    with pytest.raises(HandshakeFailed):
        dialer.receive(on_wire(("welcome", proof.code)))


@pytest.mark.parametrize("field", ["name", "incarnation", "nonce", "version"])
def test_each_part_of_the_hello_is_bound(field: str) -> None:
    dialer, listener = a_dialer(), ListenerHandshake(SECRET, HOST)
    hello = dialer.hello()
    changed = {"name": "edge-1", "incarnation": "edge-0-b", "nonce": b"\0" * 32, "version": 2}[field]
    challenge = listener.receive(on_wire(msgspec.structs.replace(hello, **{field: changed})))
    with pytest.raises(HandshakeFailed):
        listener.receive(on_wire(dialer.receive(on_wire(challenge))))


@pytest.mark.parametrize("field", ["name", "incarnation", "nonce"])
def test_each_part_of_the_challenge_is_bound(field: str) -> None:
    dialer, listener = a_dialer(expected=None), ListenerHandshake(SECRET, HOST)
    challenge = listener.receive(on_wire(dialer.hello()))
    changed = {"name": "host-1", "incarnation": "host-0-b", "nonce": b"\0" * 32}[field]
    proof = dialer.receive(on_wire(msgspec.structs.replace(challenge, **{field: changed})))
    with pytest.raises(HandshakeFailed):
        listener.receive(on_wire(proof))


def test_a_dialer_proves_nothing_to_another_member() -> None:
    dialer = a_dialer(expected="host-1")
    challenge = ListenerHandshake(SECRET, HOST).receive(on_wire(dialer.hello()))
    with pytest.raises(HandshakeFailed, match="another member"):
        dialer.receive(on_wire(challenge))


def test_a_dialer_says_that_the_versions_differ() -> None:
    dialer = a_dialer()
    challenge = ListenerHandshake(SECRET, HOST).receive(on_wire(dialer.hello()))
    with pytest.raises(HandshakeFailed, match="version 9"):
        dialer.receive(on_wire(msgspec.structs.replace(challenge, version=9)))


@settings(deadline=None)
@given(st.lists(st.binary(max_size=200), min_size=1, max_size=3))
def test_garbage_is_a_failed_handshake_and_nothing_else(payloads: list[bytes]) -> None:
    for side in (a_dialer(), ListenerHandshake(SECRET, HOST)):
        for payload in [*payloads, b"", b"\x91" * 1_024]:
            with pytest.raises(HandshakeFailed):
                side.receive(payload)
        assert side.peer is None


def test_a_dialer_of_another_version_is_refused_though_it_holds_the_secret() -> None:
    dialer, listener = a_dialer(), ListenerHandshake(SECRET, HOST)
    dialer._hello = msgspec.structs.replace(dialer.hello(), version=2)
    proof = dialer.receive(on_wire(listener.receive(on_wire(dialer.hello()))))
    with pytest.raises(HandshakeFailed, match="version 2"):
        listener.receive(on_wire(proof))


def test_a_short_secret_is_not_taken() -> None:
    with pytest.raises(ValueError, match="at least 16 bytes"):
        check_secret(b"short")
