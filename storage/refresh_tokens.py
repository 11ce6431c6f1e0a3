"""The `refresh_tokens` and `refresh_families` collections: long-lived, opaque, single-use tokens, rotated on each use.

Used by login, refresh and logout. A login starts a family; each use of a token ends it and gives its one successor. The
successor is the HMAC of the old token under the family's secret, so that a client who lost the answer and asks again
within the grace gets the same one, though only hashes are stored. Any later use of a used token means that two hold it:
the whole family is revoked. It never issues access tokens.
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Collection
from typing import Any, NamedTuple

from cluster.kernel.clock import Clock
from cluster.kernel.errors import UNAUTHENTICATED, FlowError
from cluster.kernel.ids import new_id
from storage.client import Database, Duplicate
from storage.dates import to_date, to_ms

_TOKEN_BYTES = 32
_LONGEST_TOKEN = 128


class RefreshToken(NamedTuple):
    """What a client is given. `token` is a secret: it is stored nowhere and must not be logged."""

    token: str
    user_id: str
    family_id: str
    expires_at_ms: int


class RefreshTokens:
    """`ttl_ms` counts from the last use; `grace_ms` is how long a used token still gives its successor."""

    def __init__(self, database: Database, clock: Clock, *, ttl_ms: int, grace_ms: int) -> None:
        self._tokens = database.collection("refresh_tokens")
        self._families = database.collection("refresh_families", direct=True)
        self._clock = clock
        self._ttl_ms = ttl_ms
        self._grace_ms = grace_ms

    async def issue(self, user_id: str) -> RefreshToken:
        """Start a family, as at login. Durable before it returns."""
        expires_at_ms = self._clock.now_ms() + self._ttl_ms
        family: dict[str, Any] = {
            "_id": new_id(),
            "user_id": user_id,
            "secret": secrets.token_bytes(_TOKEN_BYTES),
            "revoked": False,
            "expires_at": to_date(expires_at_ms),
        }
        await self._families.insert_one(family)
        token = _encode(secrets.token_bytes(_TOKEN_BYTES))
        await self._tokens.insert_one(_row(token, family["_id"], expires_at_ms))
        return RefreshToken(token, user_id, family["_id"], expires_at_ms)

    async def rotate(self, token: str) -> RefreshToken:
        """The successor of `token`; within the grace the same one again.

        Raises FlowError UNAUTHENTICATED when the token is unknown, expired, revoked or was used before the grace; in
        the last case its family is revoked first.
        """
        now_ms = self._clock.now_ms()
        token_hash = _hash(token)
        row = await self._tokens.find_one({"_id": token_hash})
        family = await self._live_family(row, now_ms)
        claimed = await self._tokens.find_one_and_update(
            {"_id": token_hash, "used_at_ms": None}, {"$set": {"used_at_ms": now_ms}}, before=True
        )
        if claimed is None:
            await self._check_grace(token_hash, family["_id"], now_ms)
        return await self._successor(token, family, now_ms)

    async def _live_family(self, row: dict[str, Any] | None, now_ms: int) -> dict[str, Any]:
        if row is None or to_ms(row["expires_at"]) <= now_ms:
            raise _refused()
        family = await self._families.find_one({"_id": row["family_id"]})
        if family is None or family["revoked"]:
            raise _refused()
        return family

    async def _check_grace(self, token_hash: str, family_id: str, now_ms: int) -> None:
        row = await self._tokens.find_one({"_id": token_hash})
        if row is None or now_ms - int(row["used_at_ms"]) > self._grace_ms:
            await self.revoke_family(family_id)
            raise _refused()

    async def _successor(self, token: str, family: dict[str, Any], now_ms: int) -> RefreshToken:
        successor = _encode(hmac.digest(family["secret"], token.encode(), "sha256"))
        expires_at_ms = now_ms + self._ttl_ms
        later = {"$max": {"expires_at": to_date(expires_at_ms)}}
        await self._families.update_one({"_id": family["_id"]}, later)
        row = _row(successor, family["_id"], expires_at_ms)
        try:
            await self._tokens.insert_one(row)
        except Duplicate:  # an earlier answer was lost on its way: the same successor is given again
            stored = await self._tokens.find_one({"_id": row["_id"]})
            if stored is not None:
                expires_at_ms = to_ms(stored["expires_at"])
        return RefreshToken(successor, family["user_id"], family["_id"], expires_at_ms)

    async def revoke(self, token: str) -> str | None:
        """End the family of `token`, as at logout. Returns the family's id; None when the token is unknown."""
        row = await self._tokens.find_one({"_id": _hash(token)})
        if row is None:
            return None
        family_id: str = row["family_id"]
        await self.revoke_family(family_id)
        return family_id

    async def revoke_family(self, family_id: str) -> None:
        await self._families.update_one({"_id": family_id}, {"$set": {"revoked": True}})

    async def revoked_among(self, family_ids: Collection[str]) -> set[str]:
        """Which of these families, at most 500, were ended. One that is not known was not."""
        ended = {"_id": {"$in": list(family_ids)}, "revoked": True}
        rows = await self._families.find(ended, limit=max(1, len(family_ids)), projection={"_id": 1})
        return {row["_id"] for row in rows}

    async def revoke_user(self, user_id: str) -> int:
        """End every family of a person, as when the password changes. Returns how many were live."""
        return await self._families.update_many({"user_id": user_id, "revoked": False}, {"$set": {"revoked": True}})


def _refused() -> FlowError:
    return FlowError(UNAUTHENTICATED, "This refresh token cannot be used. Log in again.")


def _encode(secret: bytes) -> str:
    return base64.urlsafe_b64encode(secret).rstrip(b"=").decode()


def _hash(token: str) -> str:
    if not 0 < len(token) <= _LONGEST_TOKEN:
        raise _refused()
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def _row(token: str, family_id: str, expires_at_ms: int) -> dict[str, Any]:
    return {
        "_id": _hash(token),
        "family_id": family_id,
        "used_at_ms": None,
        "expires_at": to_date(expires_at_ms),
    }
