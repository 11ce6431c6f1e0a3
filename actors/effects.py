"""What a pure machine may ask for, and what it is given: the whole vocabulary between rules and host.

`decide` returns one `Effects` or raises FlowError. The host carries it out in this order: the rows become durable, then
the reply leaves, then the fan-outs. A machine that raises must not have changed its state.
"""

from collections.abc import Sequence
from typing import Any, Final, Protocol

import msgspec

from actors.facts import Fact, Facts
from actors.messages import Delivery, Done
from storage.records import Message, Notification, Rsvp

Row = Message | Rsvp | Notification

FanOut = Delivery
"""A delivery to everyone who watches the key. With a `seq` it is one more step of the key's history."""

DONE: Final = Done()


class ReadMark(msgspec.Struct, frozen=True):
    """A person has read a room up to `seq`; stored beside the log, in no order with it."""

    room_id: str
    user_id: str
    seq: int


class Effects(msgspec.Struct, gc=False):
    """`reply` is the reply struct. `rows` are one durable step, in order; `owed[i]` marks row i as owing
    what follows from it: analytics, notifications, pushes.

    `ungated`: neither the reply nor the fan-outs tell anything of the room's history, so they need not wait for rows
    that are still being written.
    """

    reply: Any
    rows: tuple[Row, ...] = ()
    owed: tuple[bool, ...] = ()
    fan_outs: tuple[FanOut, ...] = ()
    mark: ReadMark | None = None
    ungated: bool = False


class Envelope:
    """A command with everything that is not in its body. `edge` names one link of one edge.

    `duplicate`: storage refused the row this command led to, because its idempotency key is stored already.
    """

    __slots__ = ("body", "connection", "duplicate", "edge", "now_ms", "user")

    def __init__(self, body: Any, user: str = "", connection: str = "", edge: str = "", now_ms: int = 0) -> None:
        self.body = body
        self.user = user
        self.connection = connection
        self.edge = edge
        self.now_ms = now_ms
        self.duplicate = False


class Machine(Protocol):
    """The rules and the state of one key. Synchronous; no I/O, clock or randomness."""

    epoch: int

    @property
    def seq(self) -> int:
        """The position of the newest decided step."""

    def facts_needed(self, envelope: Envelope, facts: Facts) -> Sequence[Fact]:
        """What must be known before this command is decided; empty when `facts` and the state suffice. Raises FlowError
        when the command is refused whatever the facts."""

    def decide(self, envelope: Envelope, facts: Facts) -> Effects:
        """Raises FlowError to refuse; the state is then unchanged. FENCED: the facts show that another owner wrote, so
        the state must be read again before this can be decided."""

    def is_live(self) -> bool:
        """Whether leaving memory would lose something that storage does not hold."""

    def is_unsettled(self, now_ms: int) -> bool:
        """Whether a `Settle` would change something."""

    def roll_back(self, refused: Row) -> bool:
        """Forget `refused` and every step after it. False when only storage can tell the state before."""

    def inherit(self, before: Any) -> None:
        """Take over what `before`, the same key's machine of an earlier epoch, held beyond storage."""

    def catch_up(self, seq: int) -> Sequence[FanOut] | None:
        """The fan-outs after `seq` for watchers who saw it; None when they must resume."""

    def trim(self) -> None:
        """Give back caches; called when nothing happens."""
