"""SCRAM-SHA-256, the client's side: two messages to send, one proof to check. Pure but for the nonce.

Source: RFC 5802 and RFC 7677. Passwords are prepared by SASLprep (RFC 4013) in the driver's own function. The salted
password costs some thousand rounds of hashing, so it is kept for as long as the server keeps its salt.
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from typing import Final

from pymongo.saslprep import saslprep

_FEWEST_ROUNDS: Final = 4_096
_MOST_ROUNDS: Final = 1_000_000
"""A server may not have us hash for minutes."""


class ScramRefused(Exception):
    """The server's messages do not prove that it knows the password, or are none of this exchange."""


class Salted:
    """One password, salted as a server last asked. `repr` shows nothing of it."""

    def __init__(self, password: str) -> None:
        self._password: bytes = saslprep(password).encode()
        self._key: tuple[bytes, int] | None = None
        self._salted = b""

    def by(self, salt: bytes, rounds: int) -> bytes:
        if self._key != (salt, rounds):
            self._salted = hashlib.pbkdf2_hmac("sha256", self._password, salt, rounds)
            self._key = (salt, rounds)
        return self._salted


class Exchange:
    """One login. `first`, then `final` with the server's answer, then `check` with its last one."""

    def __init__(self, username: str, salted: Salted, nonce: str | None = None) -> None:
        name = username.replace("=", "=3D").replace(",", "=2C")
        self._nonce = nonce or base64.b64encode(secrets.token_bytes(24)).decode()
        self._bare = f"n={name},r={self._nonce}"
        self._salted = salted
        self._server_proof = b""

    @property
    def first(self) -> bytes:
        return f"n,,{self._bare}".encode()

    def final(self, server_first: bytes) -> bytes:
        """Raises ScramRefused."""
        fields = _fields(server_first)
        try:
            nonce, salt, rounds = fields["r"], base64.b64decode(fields["s"], validate=True), int(fields["i"])
        except (KeyError, ValueError) as error:
            raise ScramRefused("the server's first message is incomplete") from error
        if not nonce.startswith(self._nonce) or not _FEWEST_ROUNDS <= rounds <= _MOST_ROUNDS:
            raise ScramRefused("the server's nonce or its number of rounds is not acceptable")
        without_proof = f"c=biws,r={nonce}"
        said = f"{self._bare},{server_first.decode()},{without_proof}".encode()
        salted = self._salted.by(salt, rounds)
        client_key = _hmac(salted, b"Client Key")
        signature = _hmac(hashlib.sha256(client_key).digest(), said)
        proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        self._server_proof = _hmac(_hmac(salted, b"Server Key"), said)
        return f"{without_proof},p={base64.b64encode(proof).decode()}".encode()

    def check(self, server_final: bytes) -> None:
        """Raises ScramRefused unless the server knows the password too."""
        proof = _fields(server_final).get("v", "")
        if not hmac.compare_digest(base64.b64encode(self._server_proof).decode(), proof):
            raise ScramRefused("the server did not prove that it knows the password")


def _hmac(key: bytes, said: bytes) -> bytes:
    return hmac.digest(key, said, "sha256")


def _fields(message: bytes) -> Mapping[str, str]:
    try:
        parts = message.decode().split(",")
    except UnicodeDecodeError as error:
        raise ScramRefused("the server's message is not text") from error
    return {part[:1]: part[2:] for part in parts if part[1:2] == "="}
