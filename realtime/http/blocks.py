"""Blocking somebody: neither is recommended to the other, as a person or as an organizer."""

from cluster.kernel.errors import INVALID_REQUEST, USER_NOT_FOUND, FlowError
from realtime.http.fields import DEFAULT_PAGE, Answer, Id, Nothing, PageLimit, Strict
from realtime.http.operations import AnyOperation, Call, Operation
from realtime.http.user_shapes import Person, person


class BlockQuery(Strict, frozen=True):
    limit: PageLimit = DEFAULT_PAGE
    cursor: Id | None = None


class Blocked(Answer, frozen=True):
    """In the order of their ids."""

    items: tuple[Person, ...]
    next: str | None


async def block(call: Call[Nothing, Nothing]) -> Nothing:
    """Safe to repeat. The other one is not told."""
    storage, own_id, other_id = call.context.storage, call.caller.user_id, call.path["id"]
    if own_id == other_id:
        raise FlowError(INVALID_REQUEST, "That is you.", fields=("id",))
    if await storage.users.by_id(other_id) is None:
        raise FlowError(USER_NOT_FOUND)
    await storage.blocks.block(own_id, other_id, call.context.clock.now_ms())
    for either in (own_id, other_id):
        await storage.user_features.acted(either)
    return Nothing()


async def unblock(call: Call[Nothing, Nothing]) -> Nothing:
    """Safe to repeat."""
    storage, own_id, other_id = call.context.storage, call.caller.user_id, call.path["id"]
    await storage.blocks.unblock(own_id, other_id)
    for either in (own_id, other_id):
        await storage.user_features.acted(either)
    return Nothing()


async def list_own(call: Call[Nothing, BlockQuery]) -> Blocked:
    storage, query = call.context.storage, call.query
    ids = await storage.blocks.blocked_by(call.caller.user_id, query.cursor, query.limit + 1)
    people = await storage.users.by_ids(ids[: query.limit])
    return Blocked(items=tuple(map(person, people)), next=ids[query.limit - 1] if len(ids) > query.limit else None)


OPERATIONS: tuple[AnyOperation, ...] = (
    Operation(
        method="GET",
        path="/v1/users/me/blocks",
        summary="Whom you blocked.",
        tag="People",
        handle=list_own,
        body=Nothing,
        query=BlockQuery,
        reply=Blocked,
    ),
    Operation(
        method="POST",
        path="/v1/users/me/blocks/{id}",
        summary="Block somebody: you are not recommended to each other.",
        tag="People",
        handle=block,
        body=Nothing,
        query=Nothing,
        reply=Nothing,
        errors=(USER_NOT_FOUND,),
    ),
    Operation(
        method="DELETE",
        path="/v1/users/me/blocks/{id}",
        summary="Take a block back.",
        tag="People",
        handle=unblock,
        body=Nothing,
        query=Nothing,
        reply=Nothing,
    ),
)
