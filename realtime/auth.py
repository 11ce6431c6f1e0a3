"""Access tokens: short-lived JWTs, one pinned algorithm, keys that rotate by `kid`.

The HTTP API issues them at login and refresh; the edge verifies them when a socket connects and when it renews.
It promises that a token it accepts was signed by a current or previous key of this installation, for this audience, and
has not expired. It never logs a token, never takes an algorithm from one, and stores nothing: a session that must end
early is ended by whoever owns sessions.
"""

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass
from typing import Final

import jwt
import msgspec

from cluster.kernel.clock import Clock
from cluster.kernel.errors import TOKEN_EXPIRED, UNAUTHENTICATED, FlowError
from cluster.kernel.ids import is_id, new_id

_ALGORITHM: Final = "HS256"
_MIN_SECRET_BYTES: Final = 32
_MAX_TOKEN_CHARACTERS: Final = 4_096
_CLAIMS: Final = ("exp", "iat", "iss", "aud", "sub", "sid", "jti")
_MAX_CLOCK_SKEW_S: Final = 60
_END_OF_TIME_S: Final = 1e12
_URL_SAFE: Final = bytes.maketrans(b"+/", b"-_")
_FROM_URL_SAFE: Final = bytes.maketrans(b"-_", b"+/")


class Identity(msgspec.Struct, frozen=True, gc=False):
    """Who a valid token speaks for. `expires_at_ms` is wall time in milliseconds."""

    user_id: str
    username: str
    session_id: str
    token_id: str
    expires_at_ms: int


class _Claims(msgspec.Struct, gc=False):
    """What a token has to say, and of which type; what else it says is nothing to us. Times are in seconds."""

    exp: int | float
    iat: int | float
    iss: str
    aud: str | list[str]
    sub: str
    sid: str
    jti: str
    username: str = ""


@dataclass(frozen=True, slots=True, repr=False)
class TokenSettings:
    """`secret` signs; `previous_secret` is still accepted, so a rotation logs nobody out. Each has 32 bytes or more."""

    secret: str
    previous_secret: str | None = None
    issuer: str = "flow"
    audience: str = "flow-clients"
    lifetime_s: int = 900

    def __post_init__(self) -> None:
        for secret in (self.secret, self.previous_secret):
            if secret is not None and len(secret.encode()) < _MIN_SECRET_BYTES:
                raise ValueError(f"a token secret needs at least {_MIN_SECRET_BYTES} bytes")
        if self.lifetime_s < 1:
            raise ValueError("lifetime_s must be at least 1")


_read_claims: Final = msgspec.json.Decoder(_Claims).decode


def _key_id(secret: str) -> str:
    return hashlib.blake2b(secret.encode(), digest_size=6, person=b"flow-token-kid").hexdigest()


def _key(secret: str) -> jwt.PyJWK:
    """Made ready once; PyJWT looks a bare secret over for each token."""
    encoded = base64.urlsafe_b64encode(secret.encode()).rstrip(b"=").decode()
    return jwt.PyJWK({"kty": "oct", "k": encoded, "alg": _ALGORITHM})


def _header(key_id: str, key: jwt.PyJWK) -> str:
    return jwt.encode({}, key, algorithm=_ALGORITHM, headers={"kid": key_id}).partition(".")[0]


class TokenService:
    """Issues and verifies access tokens."""

    def __init__(self, settings: TokenSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._current = _key_id(settings.secret)
        self._keys = {self._current: _key(settings.secret)}
        if settings.previous_secret is not None:
            self._keys.setdefault(_key_id(settings.previous_secret), _key(settings.previous_secret))
        # What tokens of our own begin with, so that the header of each need not be read.
        self._by_header: dict[str, bytes] = {}
        for secret in filter(None, (settings.previous_secret, settings.secret)):
            key_id = _key_id(secret)
            self._by_header[_header(key_id, self._keys[key_id])] = secret.encode()

    def issue(self, user_id: str, username: str, session_id: str) -> tuple[str, int]:
        """A new token and when it expires, in milliseconds of wall time."""
        now = self._clock.now_ms() // 1000
        expires = now + self._settings.lifetime_s
        claims = {
            "sub": user_id,
            "username": username,
            "sid": session_id,
            "jti": new_id(),
            "iss": self._settings.issuer,
            "aud": self._settings.audience,
            "iat": now,
            "exp": expires,
        }
        token = jwt.encode(claims, self._keys[self._current], algorithm=_ALGORITHM, headers={"kid": self._current})
        return token, expires * 1000

    def verify(self, token: object) -> Identity:
        """Who the token speaks for. Raises FlowError UNAUTHENTICATED or, for one that was valid, TOKEN_EXPIRED."""
        claims = self._claims(token)
        now = self._clock.now_ms() / 1000
        if not 0 <= claims.exp < _END_OF_TIME_S or not 0 <= claims.iat <= now + _MAX_CLOCK_SKEW_S:
            raise FlowError(UNAUTHENTICATED)
        if claims.exp <= now:
            raise FlowError(TOKEN_EXPIRED)
        if not is_id(claims.sub):
            raise FlowError(UNAUTHENTICATED)
        return Identity(claims.sub, claims.username, claims.sid, claims.jti, int(claims.exp * 1000))

    def _claims(self, token: object) -> _Claims:
        if not isinstance(token, str) or not 0 < len(token) <= _MAX_TOKEN_CHARACTERS or not token.isascii():
            raise FlowError(UNAUTHENTICATED)
        secret = self._by_header.get(token.partition(".")[0])
        return self._any_claims(token) if secret is None else self._own_claims(token, secret)

    def _own_claims(self, token: str, secret: bytes) -> _Claims:
        """Of a token with the very header that `issue` writes: RFC 7515 for that one header, byte for byte.

        Every socket that connects comes by here, and this is a tenth of what PyJWT costs.
        """
        signed, _, signature = token.encode().rpartition(b".")
        digest = hmac.digest(secret, signed, "sha256")
        expected = binascii.b2a_base64(digest, newline=False).translate(_URL_SAFE, b"=")
        if not hmac.compare_digest(expected, signature):
            raise FlowError(UNAUTHENTICATED)
        body = signed.partition(b".")[2].translate(_FROM_URL_SAFE)
        try:
            claims = _read_claims(binascii.a2b_base64(body + b"=" * (-len(body) % 4)))
        except ValueError as error:
            raise FlowError(UNAUTHENTICATED) from error
        if claims.iss != self._settings.issuer or claims.aud != self._settings.audience:
            raise FlowError(UNAUTHENTICATED)
        return claims

    def _any_claims(self, token: str) -> _Claims:
        """Of a token that says in other words which of our keys signed it."""
        try:
            key = self._keys.get(jwt.get_unverified_header(token).get("kid", ""))
            if key is None:
                raise FlowError(UNAUTHENTICATED)
            claims = jwt.decode(
                token,
                key,
                algorithms=[_ALGORITHM],
                audience=self._settings.audience,
                issuer=self._settings.issuer,
                # Times are checked by the caller, against the clock that was given.
                options={"require": list(_CLAIMS), "verify_exp": False, "verify_iat": False, "verify_nbf": False},
            )
            return msgspec.convert(claims, _Claims)
        except (jwt.PyJWTError, ValueError, TypeError) as error:
            raise FlowError(UNAUTHENTICATED) from error
