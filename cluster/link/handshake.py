"""How two processes of the cluster prove to each other that they hold its secret. Pure: frames in, frames out.

The dialer says HELLO with a fresh nonce, the listener answers CHALLENGE with its own, the dialer sends PROOF and the
listener WELCOME: each an HMAC-SHA256 over the protocol version, both names, both incarnations and both nonces, keyed by
the secret and labelled with the role, so that nothing that was ever sent opens another link, in either direction.
The dialer proves first: someone who only reaches the port learns nothing computed from the secret. What follows the
handshake is neither signed nor hidden; that is the network's work.
"""

import hmac
import secrets
from dataclasses import dataclass
from typing import Annotated, Any, Final, TypeVar

import msgspec

PROTOCOL_VERSION: Final = 1
MAX_HANDSHAKE_FRAME_BYTES: Final = 1024
MIN_SECRET_BYTES: Final = 16
_NONCE_BYTES: Final = 32

_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
_Nonce = Annotated[bytes, msgspec.Meta(min_length=_NONCE_BYTES, max_length=_NONCE_BYTES)]
_encode = msgspec.msgpack.Encoder().encode
_F = TypeVar("_F")


class HandshakeFailed(Exception):
    """The far side is not who it must be. The text names no secret."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a process says it is; proven once a handshake has ended."""

    name: str
    incarnation: str


class Hello(msgspec.Struct, array_like=True, tag="hello"):
    version: int
    name: _Name
    incarnation: _Name
    nonce: _Nonce


class Challenge(msgspec.Struct, array_like=True, tag="challenge"):
    version: int
    name: _Name
    incarnation: _Name
    nonce: _Nonce


class Proof(msgspec.Struct, array_like=True, tag="proof"):
    code: bytes


class Welcome(msgspec.Struct, array_like=True, tag="welcome"):
    code: bytes


_hello: Final = msgspec.msgpack.Decoder(Hello)
_challenge: Final = msgspec.msgpack.Decoder(Challenge)
_proof: Final = msgspec.msgpack.Decoder(Proof)
_welcome: Final = msgspec.msgpack.Decoder(Welcome)


def check_secret(secret: bytes) -> bytes:
    """The secret, when it is long enough to be one. Raises ValueError."""
    if len(secret) < MIN_SECRET_BYTES:
        raise ValueError(f"the cluster's secret must have at least {MIN_SECRET_BYTES} bytes")
    return secret


def _decode(decoder: "msgspec.msgpack.Decoder[_F]", payload: bytes) -> _F:
    try:
        return decoder.decode(payload)
    except (ValueError, RecursionError):
        raise HandshakeFailed("a malformed handshake") from None


def _code(secret: bytes, role: str, dialer: Hello, listener: Challenge) -> bytes:
    # msgpack says where each part ends, so no two transcripts have the same bytes.
    return hmac.digest(secret, b"flow-link" + _encode((role, dialer, listener)), "sha256")


class DialerHandshake:
    """The side that connected. Send `hello`, then whatever `receive` returns, until `peer` is known."""

    def __init__(self, secret: bytes, own: Identity, expected_peer: str | None) -> None:
        self._secret = secret
        self._expected_peer = expected_peer
        self._hello = Hello(PROTOCOL_VERSION, own.name, own.incarnation, secrets.token_bytes(_NONCE_BYTES))
        self._challenge: Challenge | None = None
        self.peer: Identity | None = None

    def hello(self) -> Any:
        return self._hello

    def receive(self, payload: bytes) -> Any | None:
        """The frame to send next, if any. Raises HandshakeFailed."""
        if self._challenge is None:
            challenge = _decode(_challenge, payload)
            if challenge.version != PROTOCOL_VERSION:
                raise HandshakeFailed(f"the peer speaks version {challenge.version}, not {PROTOCOL_VERSION}")
            if self._expected_peer is not None and challenge.name != self._expected_peer:
                raise HandshakeFailed("another member answers at this address")
            self._challenge = challenge
            return Proof(_code(self._secret, "dialer", self._hello, challenge))
        welcome = _decode(_welcome, payload)
        if not hmac.compare_digest(welcome.code, _code(self._secret, "listener", self._hello, self._challenge)):
            raise HandshakeFailed("the peer does not hold the cluster's secret")
        self.peer = Identity(self._challenge.name, self._challenge.incarnation)
        return None


class ListenerHandshake:
    """The side that was dialed. Send whatever `receive` returns until `peer` is known."""

    def __init__(self, secret: bytes, own: Identity) -> None:
        self._secret = secret
        self._challenge = Challenge(PROTOCOL_VERSION, own.name, own.incarnation, secrets.token_bytes(_NONCE_BYTES))
        self._hello: Hello | None = None
        self.peer: Identity | None = None

    def receive(self, payload: bytes) -> Any:
        """The frame to send next. Raises HandshakeFailed."""
        if self._hello is None:
            self._hello = _decode(_hello, payload)
            # A dialer of another version is told ours, so that it can say why it gives up; its proof will not hold.
            return self._challenge
        if self._hello.version != PROTOCOL_VERSION:
            raise HandshakeFailed(f"the peer speaks version {self._hello.version}, not {PROTOCOL_VERSION}")
        proof = _decode(_proof, payload)
        if not hmac.compare_digest(proof.code, _code(self._secret, "dialer", self._hello, self._challenge)):
            raise HandshakeFailed("the peer does not hold the cluster's secret")
        self.peer = Identity(self._hello.name, self._hello.incarnation)
        return Welcome(_code(self._secret, "listener", self._hello, self._challenge))
