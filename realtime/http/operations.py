"""What an HTTP operation is: address, shapes, handler. Router, validator and OpenAPI document read the same row.

Every resource file ends in a tuple of operations; `api` mounts them all. A handler gets a `Call` whose parts have been
validated and whose person is known, and returns the struct to answer with or raises FlowError.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Generic, Literal, TypeVar

import msgspec

from cluster.kernel.errors import ErrorKind
from realtime.http.context import ApiContext, Caller
from realtime.http.fields import Nothing

Body = TypeVar("Body", bound=msgspec.Struct)
Query = TypeVar("Query", bound=msgspec.Struct)
Reply = TypeVar("Reply", bound=msgspec.Struct)

Method = Literal["GET", "POST", "PATCH", "DELETE"]

Access = Literal["token", "optional", "public"]
"""Whether an access token is needed, may be given (an invalid one then counts as none), or is not looked at."""

MAX_BODY_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[Body, Query]):
    """One request to one operation, validated."""

    context: ApiContext
    body: Body
    query: Query
    path: Mapping[str, str]
    address: str
    request_id: str
    signed_in: Caller | None

    @property
    def caller(self) -> Caller:
        """The person who asks. Only operations whose access is `token` may use it."""
        assert self.signed_in is not None, "a public operation asked for its caller"
        return self.signed_in


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation(Generic[Body, Query, Reply]):
    """One row: where, what goes in, what comes out, who may. `reply` Nothing answers 204."""

    method: Method
    path: str
    summary: str
    tag: str
    handle: Callable[[Call[Body, Query]], Awaitable[Reply]]
    body: type[Body]
    query: type[Query]
    reply: type[Reply]
    status: int = 200
    access: Access = "token"
    errors: tuple[ErrorKind, ...] = field(default=())
    """Rows of the table a client should expect beyond those every operation may answer."""
    location: Callable[[Reply], str] | None = None
    """The address of what was made, for 201."""
    max_body_bytes: int = MAX_BODY_BYTES

    @property
    def takes_body(self) -> bool:
        return self.body is not Nothing

    @property
    def name(self) -> str:
        """Unique, stable and readable: `getV1EventsId`."""
        words = self.path.replace("{", "").replace("}", "").strip("/").replace(".", "/").split("/")
        return self.method.lower() + "".join(word[:1].upper() + word[1:] for word in words)


AnyOperation = Operation[Any, Any, Any]
