"""Answers match requests with whatever matcher was chosen, and with the formula when that one fails.

Owned by a replica, called from one thread. It promises at most `limit` matches, best first, ties by id, every score 0
to 1, and an answer whatever a matcher of somebody else's does: one that raises, is late, or answers for other people is
replaced for this request, and the answer is marked.
"""

import math
from collections.abc import Sequence
from typing import Any

from cluster.kernel.errors import INVALID_REQUEST, FlowError
from serve_apps.contracts import MOST_CANDIDATES, Match, MatchAnswer, Matcher, MatchPerson, MatchRequest
from serve_apps.guarded import Guarded, PluginFailed
from serve_apps.matchmaking.compatibility import CompatibilityMatcher

MAX_LIMIT = 100
PLUGIN_SHARE = 0.5
"""The part of the deadline that a matcher may take before the formula is asked instead."""


class Matching:
    def __init__(self, formula: CompatibilityMatcher, chosen: Matcher | None, guard: Guarded) -> None:
        self._formula = formula
        self._chosen = chosen
        self._guard = guard

    def answer(self, request: MatchRequest) -> MatchAnswer:
        """Raises FlowError INVALID_REQUEST."""
        if not 1 <= request.limit <= MAX_LIMIT:
            raise FlowError(INVALID_REQUEST, f"limit must be 1 to {MAX_LIMIT}.", fields=("limit",))
        if len(request.others) > MOST_CANDIDATES:
            raise FlowError(
                INVALID_REQUEST, f"At most {MOST_CANDIDATES} people are matched at once.", fields=("others",)
            )
        if self._chosen is not None:
            try:
                return self._answer(self._chosen.name, self._asked(self._chosen, request), request.limit)
            except PluginFailed:
                pass  # counted and logged by the guard
        found = self._formula.match(request.person, request.others)
        return self._answer(self._formula.name, found, request.limit, fallback=self._chosen is not None)

    def statistics(self) -> dict[str, Any]:
        return self._guard.statistics()

    def _asked(self, matcher: Matcher, request: MatchRequest) -> Sequence[Match]:
        return self._guard.run(
            matcher.name,
            lambda: matcher.match(request.person, request.others),
            request.deadline_ms / 1000 * PLUGIN_SHARE,
            lambda found: _problem(found, request.others),
        )

    @staticmethod
    def _answer(name: str, found: Sequence[Match], limit: int, *, fallback: bool = False) -> MatchAnswer:
        best = sorted(found, key=lambda match: (-match.score, match.user_id))[:limit]
        return MatchAnswer(matches=tuple(best), matcher=name, fallback=fallback)


def _problem(found: Sequence[Match], others: Sequence[MatchPerson]) -> str | None:
    """What is wrong with a matcher's answer; None when nothing is."""
    if [match.user_id for match in found] != [other.user_id for other in others]:
        return "it did not answer for the people it was asked about, in their order"
    if not all(math.isfinite(match.score) and 0.0 <= match.score <= 1.0 for match in found):
        return "a score is not a number from 0 to 1"
    return None
