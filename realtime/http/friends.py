"""Friends: asked for, accepted by asking back, ended by either side. Friends see all of each other's profiles."""

from typing import Literal

from cluster.kernel.errors import INVALID_REQUEST, USER_NOT_FOUND, FlowError
from realtime.http.fields import DEFAULT_PAGE, Answer, Id, Nothing, PageLimit, Strict
from realtime.http.operations import AnyOperation, Call, Operation
from realtime.http.user_shapes import Person, person


class FriendStanding(Answer, frozen=True):
    """`asked` until the other one asks back, then `friend`."""

    status: Literal["asked", "friend"]


class FriendQuery(Strict, frozen=True):
    """Friends, whom you asked, or who asks you."""

    show: Literal["friends", "asked", "asking"] = "friends"
    limit: PageLimit = DEFAULT_PAGE
    cursor: Id | None = None


class FriendList(Answer, frozen=True):
    """In the order of their ids."""

    items: tuple[Person, ...]
    next: str | None


async def ask(call: Call[Nothing, Nothing]) -> FriendStanding:
    """Safe to repeat."""
    own_id, other_id = call.caller.user_id, call.path["id"]
    if own_id == other_id:
        raise FlowError(INVALID_REQUEST, "That is you.", fields=("id",))
    if await call.context.storage.users.by_id(other_id) is None:
        raise FlowError(USER_NOT_FOUND)
    return FriendStanding(
        status=await call.context.storage.friendships.ask(own_id, other_id, call.context.clock.now_ms())
    )


async def end(call: Call[Nothing, Nothing]) -> Nothing:
    """Safe to repeat."""
    _ = await call.context.storage.friendships.end(call.caller.user_id, call.path["id"])
    return Nothing()


async def list_own(call: Call[Nothing, FriendQuery]) -> FriendList:
    friendships, query = call.context.storage.friendships, call.query
    lists = {"friends": friendships.friends_of, "asked": friendships.asked_by, "asking": friendships.asking}
    ids = await lists[query.show](call.caller.user_id, query.cursor, query.limit + 1)
    people = await call.context.storage.users.by_ids(ids[: query.limit])
    return FriendList(items=tuple(map(person, people)), next=ids[query.limit - 1] if len(ids) > query.limit else None)


OPERATIONS: tuple[AnyOperation, ...] = (
    Operation(
        method="GET",
        path="/v1/users/me/friends",
        summary="Your friends, and who asked whom.",
        tag="People",
        handle=list_own,
        body=Nothing,
        query=FriendQuery,
        reply=FriendList,
    ),
    Operation(
        method="POST",
        path="/v1/users/me/friends/{id}",
        summary="Ask somebody to be friends, or accept by asking back.",
        tag="People",
        handle=ask,
        body=Nothing,
        query=Nothing,
        reply=FriendStanding,
        errors=(USER_NOT_FOUND,),
    ),
    Operation(
        method="DELETE",
        path="/v1/users/me/friends/{id}",
        summary="End a friendship, or take back or refuse a question.",
        tag="People",
        handle=end,
        body=Nothing,
        query=Nothing,
        reply=Nothing,
    ),
)
