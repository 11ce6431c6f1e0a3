"""The `friendships` collection: who is whose friend, who asked, and who follows whom; one row in each direction.

Used by the HTTP interface and by social recommendations. A friendship is two rows of the kind `friend`; a question that
was not answered is one row of the kind `asked`; following needs nobody's consent and is one row of its own. Every
operation may be repeated. It never decides what friends may see.
"""

from contextlib import suppress
from typing import Any, Literal

from storage.bounds import page_limit
from storage.client import Database, Duplicate, UpdateOne

Standing = Literal["asked", "friend"]


class MongoFriendships:
    def __init__(self, database: Database) -> None:
        self._rows = database.collection("friendships")

    async def ask(self, user_id: str, friend_id: str, now_ms: int) -> Standing:
        """Ask to be friends, or accept by asking back. "friend" when they are friends now.

        Of two people who ask each other at the same moment at least one sees the other's question, so neither waits.
        """
        row = {"user_id": user_id, "friend_id": friend_id, "kind": "asked", "at_ms": now_ms}
        with suppress(Duplicate):  # asked twice in the same moment
            await self._rows.update_one({"_id": _id(user_id, friend_id)}, {"$setOnInsert": row}, upsert=True)
        if await self._rows.find_one({"_id": _id(friend_id, user_id)}, {"_id": 1}) is None:
            return "asked"
        both = (_id(user_id, friend_id), _id(friend_id, user_id))
        await self._rows.bulk_write([UpdateOne({"_id": one}, {"$set": {"kind": "friend"}}) for one in both])
        return "friend"

    async def end(self, user_id: str, friend_id: str) -> bool:
        """No longer friends, or the question is taken back or refused. False when there was nothing between them."""
        both = {"_id": {"$in": [_id(user_id, friend_id), _id(friend_id, user_id)]}}
        return await self._rows.delete_many(both) > 0

    async def are_friends(self, user_id: str, other_id: str) -> bool:
        return await self._rows.find_one({"_id": _id(user_id, other_id), "kind": "friend"}, {"_id": 1}) is not None

    async def friends_of(self, user_id: str, after_id: str | None, limit: int) -> list[str]:
        """In the order of their ids, from after the given one."""
        return await self._page({"user_id": user_id, "kind": "friend"}, "friend_id", after_id, limit)

    async def asked_by(self, user_id: str, after_id: str | None, limit: int) -> list[str]:
        """Whom this person asked and who has not answered."""
        return await self._page({"user_id": user_id, "kind": "asked"}, "friend_id", after_id, limit)

    async def asking(self, user_id: str, after_id: str | None, limit: int) -> list[str]:
        """Who asked this person and has no answer yet."""
        return await self._page({"friend_id": user_id, "kind": "asked"}, "user_id", after_id, limit)

    async def follow(self, user_id: str, followed_id: str, now_ms: int) -> None:
        row = {"user_id": user_id, "friend_id": followed_id, "kind": "following", "at_ms": now_ms}
        with suppress(Duplicate):  # followed twice in the same moment
            await self._rows.update_one(
                {"_id": _following_id(user_id, followed_id)}, {"$setOnInsert": row}, upsert=True
            )

    async def unfollow(self, user_id: str, followed_id: str) -> None:
        await self._rows.delete_one({"_id": _following_id(user_id, followed_id)})

    async def following(self, user_id: str, after_id: str | None, limit: int) -> list[str]:
        return await self._page({"user_id": user_id, "kind": "following"}, "friend_id", after_id, limit)

    async def circle(self, user_id: str, limit: int) -> list[str]:
        """Friends and people followed, each once: whose plans may interest this person."""
        either = {"user_id": user_id, "kind": {"$in": ["friend", "following"]}}
        rows = await self._rows.find(either, projection={"friend_id": 1, "_id": 0}, limit=limit)
        return list(dict.fromkeys(row["friend_id"] for row in rows))

    async def _page(self, query: dict[str, Any], listed: str, after: str | None, limit: int) -> list[str]:
        if after is not None:
            query[listed] = {"$gt": after}
        rows = await self._rows.find(
            query, projection={listed: 1, "_id": 0}, sort=[(listed, 1)], limit=page_limit(limit)
        )
        return [row[listed] for row in rows]


def _id(user_id: str, friend_id: str) -> str:
    return f"{user_id}/{friend_id}"


def _following_id(user_id: str, followed_id: str) -> str:
    return f"{user_id}/follows/{followed_id}"
