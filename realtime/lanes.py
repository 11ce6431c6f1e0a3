"""The line of one connection's commands to one key, so that tries after a move do not overtake each other.

Only the router uses it. Pure. It promises that a command may be sent only when everything before it in the line is on
the same link and unanswered, or done; on one link order holds by itself, so commands are pipelined there.
"""

import asyncio

from cluster.link.port import LinkClient


class Ask:
    """One command in a line. `link` is where it was sent and is unanswered; None while it waits."""

    __slots__ = ("link", "turn")

    def __init__(self) -> None:
        self.link: LinkClient | None = None
        self.turn: asyncio.Future[None] | None = None


class Lane:
    """Bounded by what one connection may have under way."""

    __slots__ = ("_asks",)

    def __init__(self) -> None:
        self._asks: list[Ask] = []

    def __len__(self) -> int:
        return len(self._asks)

    def enter(self, ask: Ask) -> None:
        self._asks.append(ask)

    def leave(self, ask: Ask) -> None:
        self._asks.remove(ask)
        if self._asks:
            self._wake()

    def sent(self, ask: Ask, link: LinkClient) -> None:
        ask.link = link
        if len(self._asks) > 1:
            self._wake()

    def bounced(self, ask: Ask) -> None:
        """It came back unanswered and waits again."""
        ask.link = None

    def may_send(self, ask: Ask, link: LinkClient) -> bool:
        for earlier in self._asks:
            if earlier is ask:
                break
            if earlier.link is not link:
                return False
        return True

    def turn(self, ask: Ask) -> "asyncio.Future[None]":
        """Done when the line before `ask` has changed."""
        if ask.turn is None or ask.turn.done():
            ask.turn = asyncio.get_running_loop().create_future()
        return ask.turn

    def _wake(self) -> None:
        for ask in self._asks:
            if ask.turn is not None and not ask.turn.done():
                ask.turn.set_result(None)
