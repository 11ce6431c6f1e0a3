"""The waiting line of one event: people in order of arrival, each with a place that is never given again while anyone
behind holds one. Pure; owned by the event's machine."""

from collections.abc import Iterable


class WaitingLine:
    __slots__ = ("_places",)

    def __init__(self, waiting: Iterable[tuple[int, str]]) -> None:
        self._places: dict[str, int] = {user: place for place, user in sorted(waiting)}

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, user: str) -> bool:
        return user in self._places

    def join(self, user: str) -> int:
        """The last place, for this person."""
        last = next(reversed(self._places.values()), 0)
        self._places[user] = last + 1
        return last + 1

    def leave(self, user: str) -> None:
        self._places.pop(user, None)

    def first(self) -> str | None:
        return next(iter(self._places), None)

    def rank(self, user: str) -> int:
        """1 for the first in line. Raises ValueError when the person does not wait."""
        for rank, waiting in enumerate(self._places, 1):
            if waiting == user:
                return rank
        raise ValueError(f"{user} does not wait")
