"""What may be chosen about the pipeline, as data: quotas, weights, rules, plugins. Part of the application's `args`.

Read when a replica starts; a value that makes no sense is refused with a sentence before anything is served.
"""

from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from serve_apps.matchmaking.compatibility import MatchWeights
from serve_apps.pipeline.sources import QUOTAS

MOST_PLUGINS: Final = 16
MOST_RULES: Final = 100
_IMPORT_PATH: Final = r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Rule(_Part):
    """A business rule: events that match every condition given are boosted, pinned to the front or left out."""

    name: str = Field(min_length=1, max_length=64)
    categories: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    organizer_ids: tuple[str, ...] = ()
    free: bool | None = None
    action: Literal["boost", "pin", "exclude"] = "boost"
    boost: float = Field(default=0.0, ge=-10, le=10)


class Plugin(_Part):
    """A class of an ML engineer's: `path` is `package.module:Class`, made with `arguments`.

    `deadline_ms` bounds one call. A ranker or re-ranker with `live` false is used only where an experiment's variation
    names it; a retriever has a `quota` of candidates.
    """

    kind: Literal["retriever", "ranker", "reranker", "matcher"]
    path: str = Field(pattern=_IMPORT_PATH, max_length=256)
    arguments: dict[str, Any] = {}
    live: bool = True
    quota: int = Field(default=50, ge=1, le=500)
    deadline_ms: int = Field(default=50, ge=1, le=1_000)


class PipelineSettings(_Part):
    """`diversity` is how much being unlike what stands above counts against being good, 0 to 1. `per_organizer` bounds
    one organizer's events in an answer while there are others. `sources` may switch a source off with 0. One place in
    `fresh_every` belongs to what was just published and suits by its content; 0 for none."""

    sources: dict[str, int] = QUOTAS
    diversity: float = Field(default=0.2, ge=0, le=1)
    per_organizer: int = Field(default=3, ge=1, le=100)
    freshness: float = Field(default=0.2, ge=0, le=10)
    fresh_every: int = Field(default=10, ge=0, le=100)
    rules: tuple[Rule, ...] = Field(default=(), max_length=MOST_RULES)
    plugins: tuple[Plugin, ...] = Field(default=(), max_length=MOST_PLUGINS)
    matching: MatchWeights = MatchWeights()

    @field_validator("sources")
    @classmethod
    def _known(cls, given: dict[str, int]) -> dict[str, int]:
        for name, quota in given.items():
            if name not in QUOTAS:
                raise ValueError(f"there is no source {name}; there are {', '.join(QUOTAS)}")
            if not 0 <= quota <= 500:
                raise ValueError(f"the quota of {name} is {quota}; it must be 0 to 500")
        return {**QUOTAS, **given}
