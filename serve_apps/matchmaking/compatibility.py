"""How well two people go together: the weighted sum of five similarities, each of them told.

Pure. It promises: 0 to 1, the same when the two change places, and never less for one more thing in common. A part that
either side does not tell counts as nothing and is told as None: little evidence gives a low score instead of a sure one
(docs/decisions/0019). The formula and its weights are the product's own: interests and traits by Jaccard, closeness
within 50 km, activity on a scale of ten, mutual friends up to ten.
"""

import math
from collections.abc import Sequence
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, model_validator

from serve_apps.contracts import Match, MatchPart, MatchPerson
from serve_apps.geography import distance_km

REACH_KM: Final = 50.0
MOST_ACTIVITY: Final = 10.0
MOST_MUTUAL_FRIENDS: Final = 10
_TOLERANCE: Final = 1e-6


class MatchWeights(BaseModel):
    """How much each part counts; together 1."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    interests: float = Field(default=0.30, ge=0, le=1)
    traits: float = Field(default=0.25, ge=0, le=1)
    distance: float = Field(default=0.20, ge=0, le=1)
    activity: float = Field(default=0.15, ge=0, le=1)
    mutual_friends: float = Field(default=0.10, ge=0, le=1)

    @model_validator(mode="after")
    def _whole(self) -> "MatchWeights":
        total = math.fsum(self.model_dump().values())
        if abs(total - 1.0) > _TOLERANCE:
            raise ValueError(f"the weights of a match add up to {total:g}, not to 1")
        return self


class CompatibilityMatcher:
    """The formula as a `contracts.Matcher`."""

    name = "compatibility"

    def __init__(self, weights: MatchWeights | None = None) -> None:
        self._weights = weights or MatchWeights()

    def match(self, person: MatchPerson, others: Sequence[MatchPerson]) -> list[Match]:
        return [compatibility(person, other, self._weights) for other in others]


def compatibility(person: MatchPerson, other: MatchPerson, weights: MatchWeights) -> Match:
    """The match of `other` for `person`; what they share of friends is told by either."""
    similarities = {
        "interests": jaccard(person.interests, other.interests),
        "traits": jaccard(person.traits, other.traits),
        "distance": closeness(person, other),
        "activity": likeness(person.activity, other.activity),
        "mutual_friends": friendliness(person.mutual_friends, other.mutual_friends),
    }
    parts = tuple(MatchPart(name, getattr(weights, name), similarity) for name, similarity in similarities.items())
    score = math.fsum(part.weight * part.similarity for part in parts if part.similarity is not None)
    return Match(user_id=other.user_id, score=min(1.0, max(0.0, score)), parts=parts)


def jaccard(first: Sequence[str], second: Sequence[str]) -> float | None:
    """What is common as a share of all; None when either tells nothing. Names are compared without case."""
    mine, theirs = ({name.strip().casefold() for name in names} for names in (first, second))
    if not mine or not theirs:
        return None
    return len(mine & theirs) / len(mine | theirs)


def closeness(person: MatchPerson, other: MatchPerson) -> float | None:
    """1 at the same place, 0 from 50 km on."""
    if person.coordinates is None or other.coordinates is None:
        return None
    # In one order, so that rounding cannot make the two directions differ.
    low, high = sorted((person.coordinates, other.coordinates))
    return max(0.0, 1.0 - distance_km(low, high) / REACH_KM)


def likeness(first: float | None, second: float | None) -> float | None:
    """1 when both are as active, 0 when one is all the scale busier."""
    if first is None or second is None or not math.isfinite(first) or not math.isfinite(second):
        return None
    mine, theirs = (min(MOST_ACTIVITY, max(0.0, one)) for one in (first, second))
    return 1.0 - abs(mine - theirs) / MOST_ACTIVITY


def friendliness(first: int | None, second: int | None) -> float | None:
    """Ten shared friends are as good as more; either side may be the one that tells."""
    told = [count for count in (first, second) if count is not None]
    return min(1.0, max(0, *told, 0) / MOST_MUTUAL_FRIENDS) if told else None
