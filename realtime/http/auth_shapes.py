"""The shapes of signing in. Passwords and tokens come in here and nowhere else; only tokens go out."""

from typing import Annotated

from msgspec import Meta

from realtime.http.fields import (
    Answer,
    Email,
    GivenPassword,
    GivenUsername,
    Password,
    PersonName,
    Point,
    RefreshToken,
    SentMoment,
    Strict,
    Tags,
    Username,
)
from realtime.http.user_shapes import OwnUser


class Registration(Strict, frozen=True):
    """A new account. `name` is the username when it is not given."""

    username: Username
    password: Password
    email: Email | None = None
    name: PersonName | None = None
    interests: Tags = ()
    location: Point | None = None

    def __repr__(self) -> str:
        return f"Registration(username={self.username!r}, …)"


class Credentials(Strict, frozen=True):
    username: GivenUsername
    password: GivenPassword

    def __repr__(self) -> str:
        return f"Credentials(username={self.username!r}, …)"


class Renewal(Strict, frozen=True):
    """A refresh token works once; the answer carries the next one."""

    refresh_token: RefreshToken

    def __repr__(self) -> str:
        return "Renewal(…)"


class Leaving(Strict, frozen=True):
    """What to log out of; without it, the session of the access token."""

    refresh_token: RefreshToken | None = None

    def __repr__(self) -> str:
        return "Leaving(…)"


class SignedIn(Answer, frozen=True):
    """`access_token` goes into `Authorization: Bearer` and into the socket's `auth` until `expires_at`."""

    access_token: str
    refresh_token: Annotated[str, Meta(description="Keep it secret; it is good for one use.")]
    expires_at: SentMoment
    user: OwnUser

    def __repr__(self) -> str:
        return f"SignedIn(user={self.user.id!r}, …)"
