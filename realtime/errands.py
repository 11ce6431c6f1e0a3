"""One command on its way: what the router knows of it from the first try to its end.

Only the router makes them. Pure. It knows where the command was sent and how often it came back; whether and when it is
sent again is the router's business.
"""

from collections.abc import Callable
from typing import Any

from actors.messages import Command
from cluster.kernel.errors import FENCED, MOVED, UNAVAILABLE, FlowError
from cluster.kernel.ids import Key
from cluster.link.port import LinkClient
from realtime.lanes import Ask, Lane


class Errand(Ask):
    """`deadline` is of the clock's monotonic time, `generation` the router's at the last try, on the link `tried`.

    `lost_link`: the link broke under the command; that is ours and not the host's, and whether it was carried out is
    unknown. `reply` and `answered` are set by whoever waits without a task.
    """

    __slots__ = (
        "answered",
        "broken",
        "command",
        "deadline",
        "generation",
        "has_moved",
        "key",
        "lane",
        "lost_link",
        "moved",
        "reply",
        "tried",
        "was_sent",
    )

    answered: Callable[[Any], None]
    has_moved: bool
    lost_link: bool
    reply: type[Any]
    tried: LinkClient

    def __init__(self, key: Key, command: Command, deadline: float, lane: Lane) -> None:
        self.link = None
        self.turn = None
        self.key = key
        self.command = command
        self.deadline = deadline
        self.lane = lane
        self.generation = 0
        self.moved = 0
        self.broken = 0
        self.was_sent = False

    def came_back(self, error: FlowError) -> bool:
        """Note why, as the last try ends. Whether there may be another."""
        self.has_moved = error.kind is MOVED or error.kind is FENCED
        self.lost_link = error.kind is UNAVAILABLE and not self.tried.is_connected
        return self.has_moved or self.lost_link
