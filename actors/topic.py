"""The rules of a topic, such as everyone in a cell of the map or everyone who likes a tag: fan-out without history.

The host drives it (actors.runner). Nothing of a topic is stored; whoever was not watching has missed it.
"""

from collections.abc import Sequence
from typing import Any

from actors.effects import DONE, Effects, Envelope, FanOut, Row
from actors.facts import Fact, Facts
from actors.messages import Position, PublishToTopic, Resumed


class Topic:
    """A `Machine` without state."""

    __slots__ = ("epoch", "key")

    def __init__(self, key: str) -> None:
        self.key = key
        self.epoch = 0

    @property
    def seq(self) -> int:
        return 0

    def facts_needed(self, envelope: Envelope, facts: Facts) -> Sequence[Fact]:
        return ()

    def decide(self, envelope: Envelope, facts: Facts) -> Effects:
        body = envelope.body
        if isinstance(body, PublishToTopic):
            return Effects(
                DONE,
                fan_outs=(FanOut(key=self.key, name=body.name, body=body.body, skip_topics=body.skip_topics),),
                ungated=True,
            )
        if isinstance(body, Position):
            return Effects(Resumed(key=self.key, epoch=0, seq=0))
        return Effects(DONE)

    def is_live(self) -> bool:
        return False

    def is_unsettled(self, now_ms: int) -> bool:
        return False

    def roll_back(self, refused: Row) -> bool:
        return False

    def inherit(self, before: Any) -> None:
        """There is nothing to keep."""

    def catch_up(self, seq: int) -> Sequence[FanOut] | None:
        return ()

    def trim(self) -> None:
        """There is nothing to give back."""
