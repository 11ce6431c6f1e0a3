"""What each kind of recommendation is drawn from, and what fills it up. Data; read by the pipeline.

The personal kind is drawn from all sources and put in order by the ranker. Each of the others is one source, in the
source's own order: what trends most, what is nearest, what most of the circle plan.
"""

from dataclasses import dataclass
from typing import Final

from serve_apps.contracts import Filler, RecommendationKind

KIND_QUOTA: Final = 400
"""Four times the most one may ask for: organizer caps and rules need something to choose from."""


@dataclass(frozen=True, slots=True)
class Kind:
    """`source` None stands for all of them. `fillers` are asked in turn while the list is too short."""

    source: str | None
    fillers: tuple[Filler, ...]


KINDS: Final[dict[RecommendationKind, Kind]] = {
    "ai_personalized": Kind(None, ("upcoming",)),
    "trending": Kind("trending", ("upcoming",)),
    "nearby": Kind("geographic", ("trending", "upcoming")),
    "social": Kind("friends", ()),
}
