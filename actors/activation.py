"""One key in a host's memory: its machine, its inbox, what waits behind its output gate, and who watches it.

The runner, the loader and the committer move it through its phases; nobody else changes one. It holds no rules.

    LOADING --loaded--> ACTIVE <--> FETCHING  facts are on their way
       ^                  | <-----> SETTLING  rows must land before facts may be fetched
       '---- FAULTED <----'                   rows land, then the key is read again
    any of them --> CLOSING --> CLOSED        rows land, then it leaves
"""

from collections import deque
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Final

from actors.effects import Effects, Envelope, Machine, Row
from actors.facts import NO_FACTS, Facts
from cluster.kernel.errors import FlowError
from cluster.kernel.ids import Key
from cluster.link.port import Peer, Request

if TYPE_CHECKING:
    from actors.fanout import Cork, Edge


class Phase(Enum):
    LOADING = auto()
    ACTIVE = auto()
    FETCHING = auto()
    SETTLING = auto()
    FAULTED = auto()
    CLOSING = auto()
    CLOSED = auto()


# A member costs fifteen times as much by its class as by a name of its own, and each command asks for ten.
LOADING: Final = Phase.LOADING
ACTIVE: Final = Phase.ACTIVE
CLOSING: Final = Phase.CLOSING
CLOSED: Final = Phase.CLOSED


class Item(Envelope):
    """One command on its way through a host. `request` is None for the host's own commands."""

    __slots__ = (
        "activation",
        "attempts",
        "cork",
        "deadline",
        "effects",
        "error",
        "facts",
        "is_done",
        "is_released",
        "request",
        "rows_decided",
        "watch",
    )

    def __init__(
        self,
        activation: "Activation",
        body: Any,
        request: Request | None = None,
        *,
        user: str = "",
        connection: str = "",
        edge: str = "",
        watch: bool = False,
    ) -> None:
        self.activation = activation
        self.body = body
        self.request = request
        self.user = user
        self.connection = connection
        self.edge = edge
        self.watch = watch
        self.now_ms = 0
        self.duplicate = False
        self.attempts = 0
        self.deadline = request.deadline if request is not None else float("inf")
        self.facts: Facts = NO_FACTS
        self.error: FlowError | None = None
        """Why a fact it needed cannot be had."""
        self.rows_decided = 0
        """The activation's count when the facts were fetched."""
        self.effects: Effects | FlowError | None = None
        self.is_done = False
        """Its rows, if any, are durable."""
        self.is_released = False
        """The caller has its answer."""
        self.cork: Cork | None = None
        """Watch through this, while a resume is being answered."""

    @property
    def rows(self) -> tuple[Row, ...]:
        effects = self.effects
        return effects.rows if isinstance(effects, Effects) else ()

    @property
    def owed(self) -> tuple[bool, ...]:
        effects = self.effects
        return effects.owed if isinstance(effects, Effects) else ()

    @property
    def peer(self) -> Peer | None:
        return self.request.peer if self.request is not None else None

    def answer(self, body: Any) -> None:
        if not self.is_released:
            self.is_released = True
            if self.request is not None:
                self.request.reply(body)

    def refuse(self, error: FlowError) -> None:
        if not self.is_released:
            self.is_released = True
            if self.request is not None:
                self.request.fail(error)


class Activation:
    """The state of one key on this host. Empty parts are None, because most activations are quiet."""

    __slots__ = (
        "idle_after",
        "idle_before",
        "inbox",
        "is_fetching",
        "is_pumping",
        "key",
        "kind",
        "last_used",
        "machine",
        "name",
        "pending",
        "phase",
        "released_seq",
        "rows_decided",
        "shard",
        "watchers",
    )

    def __init__(self, key: Key, shard: int) -> None:
        self.key = key
        self.kind = key.kind
        self.name = str(key)
        self.shard = shard
        self.phase: Phase = LOADING
        self.is_fetching = False
        self.is_pumping = False
        self.machine: Machine | None = None
        self.inbox: deque[Item] | None = None
        """Commands that are not decided yet, in order."""
        self.pending: deque[Item] | None = None
        """The output gate: decided commands whose answers wait for rows, in order."""
        self.watchers: dict[Edge, Cork | None] | None = None
        self.released_seq = 0
        """The position that watchers have been told of."""
        self.rows_decided = 0
        self.last_used = 0.0
        self.idle_before: Activation | None = None
        """Neighbours in the roster's list of idle ones (`actors.idle_list`)."""
        self.idle_after: Activation | None = None

    @property
    def is_busy(self) -> bool:
        """Whether it may not leave memory now."""
        return bool(
            self.phase is not ACTIVE
            or self.inbox
            or self.pending
            or self.watchers
            or (self.machine is not None and self.machine.is_live())
        )

    @property
    def waiting(self) -> int:
        return (len(self.inbox) if self.inbox else 0) + (len(self.pending) if self.pending else 0)

    def enqueue(self, item: Item) -> None:
        if self.inbox is None:
            self.inbox = deque()
        self.inbox.append(item)

    def put_back(self, items: list[Item]) -> None:
        """In front of everything else, in this order."""
        if self.inbox is None:
            self.inbox = deque()
        self.inbox.extendleft(reversed(items))

    def take_pending(self) -> list[Item]:
        items = list(self.pending) if self.pending else []
        self.pending = None
        return items

    def take_inbox(self) -> list[Item]:
        items = list(self.inbox) if self.inbox else []
        self.inbox = None
        return items
