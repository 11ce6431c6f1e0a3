"""What an experiment is: declared as data in the settings, checked when it is read.

Used by the recommender's replicas and by `flow experiments`. Every definition that exists is usable: `parse` raises
FlowError EXPERIMENT_INVALID with a sentence that names the experiment and the field.
"""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from cluster.kernel.errors import EXPERIMENT_INVALID, FlowError
from serve_apps.experiments.bucketing import Range, ranges_of

MAX_EXPERIMENTS: Final = 100
_KEY: Final = r"^[a-z][a-z0-9_-]{0,63}$"
_WEIGHT_TOLERANCE: Final = 1e-6


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Variation(_Part):
    """One treatment. `parameters` are what it changes; the first variation is the control."""

    key: str = Field(pattern=_KEY)
    weight: float = Field(ge=0.0, le=1.0)
    parameters: dict[str, str | float | int | bool] = {}


class Namespace(_Part):
    """Experiments on parts of one namespace that do not meet share no unit."""

    name: str = Field(min_length=1, max_length=64)
    start: float = Field(ge=0.0, le=1.0)
    end: float = Field(ge=0.0, le=1.0)

    @property
    def part(self) -> Range:
        return Range(self.start, self.end)


class Condition(_Part):
    """An attribute of the unit must be (or, with `negate`, must not be) one of `values`. A missing one is none."""

    attribute: str = Field(min_length=1, max_length=64)
    values: tuple[str, ...] = Field(min_length=1, max_length=1_000)
    negate: bool = False

    def holds(self, attributes: Mapping[str, str]) -> bool:
        return (attributes.get(self.attribute) in self.values) != self.negate


class Metric(_Part):
    """What is compared. A ratio metric divides two sums a unit has; a mean metric leaves `denominator` out.

    `good` says which direction is an improvement; a guardrail that moves significantly the other way is a violation.
    """

    key: str = Field(pattern=_KEY)
    numerator: str = Field(min_length=1, max_length=64)
    denominator: str | None = None
    good: Literal["up", "down"] = "up"


class Experiment(_Part):
    """`version` is raised by whoever changes a running experiment on purpose: it randomises anew.

    `enabled` false is the kill switch: everybody gets the control at once and nobody is counted.
    """

    key: str = Field(pattern=_KEY)
    version: int = Field(default=1, ge=1)
    unit: Literal["user"] = "user"
    variations: tuple[Variation, ...] = Field(min_length=2, max_length=16)
    coverage: float = Field(default=1.0, ge=0.0, le=1.0)
    salt: str | None = Field(default=None, min_length=1, max_length=64)
    hash_version: Literal[1, 2] = 2
    namespace: Namespace | None = None
    targeting: tuple[Condition, ...] = Field(default=(), max_length=16)
    start: AwareDatetime | None = None
    stop: AwareDatetime | None = None
    enabled: bool = True
    testers: tuple[str, ...] = Field(default=(), max_length=1_000)
    primary: Metric
    guardrails: tuple[Metric, ...] = Field(default=(), max_length=16)

    @model_validator(mode="after")
    def _together(self) -> "Experiment":
        total = math.fsum(one.weight for one in self.variations)
        if abs(total - 1.0) > _WEIGHT_TOLERANCE:
            raise ValueError(f"the weights add up to {total:g}, not to 1")
        if len({one.key for one in self.variations}) < len(self.variations):
            raise ValueError("two variations have the same key")
        if self.start is not None and self.stop is not None and self.stop <= self.start:
            raise ValueError("it stops before it starts")
        if self.namespace is not None and self.namespace.end <= self.namespace.start:
            raise ValueError("its part of the namespace is empty")
        keys = [self.primary.key, *(one.key for one in self.guardrails)]
        if len(set(keys)) < len(keys):
            raise ValueError("two metrics have the same key")
        return self

    @property
    def seed(self) -> str:
        """What the unit's id is hashed with; another version is another draw."""
        seed = self.salt or self.key
        return seed if self.version == 1 else f"{seed}.{self.version}"

    @property
    def ranges(self) -> tuple[Range, ...]:
        return ranges_of(len(self.variations), self.coverage, [one.weight for one in self.variations])

    def variation(self, key: str) -> Variation | None:
        return next((one for one in self.variations if one.key == key), None)

    def runs_at(self, now_ms: int) -> bool:
        return (
            self.enabled
            and (self.start is None or _ms(self.start) <= now_ms)
            and (self.stop is None or now_ms < _ms(self.stop))
        )

    def assigning(self) -> dict[str, Any]:
        """Everything that decides who gets what; none of it may change under a running experiment."""
        dump = self.model_dump(
            mode="json", include={"key", "version", "unit", "salt", "hash_version", "namespace", "targeting"}
        )
        dump["variations"] = [[one.key, one.weight, one.parameters] for one in self.variations]
        return dump


def parse(documents: Sequence[dict[str, Any]]) -> tuple[Experiment, ...]:
    """The experiments in the order they were written. Raises FlowError EXPERIMENT_INVALID."""
    if len(documents) > MAX_EXPERIMENTS:
        raise FlowError(EXPERIMENT_INVALID, f"There are more than {MAX_EXPERIMENTS} experiments.")
    found: dict[str, Experiment] = {}
    for document in documents:
        name = document.get("key", "An experiment without a key")
        try:
            one = Experiment.model_validate(document)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            what = f"{where}: {first['msg']}" if where else first["msg"].removeprefix("Value error, ")
            raise FlowError(EXPERIMENT_INVALID, f"{name} cannot run: {what}.") from None
        if one.key in found:
            raise FlowError(EXPERIMENT_INVALID, f"Two experiments are called {one.key}.")
        found[one.key] = one
    return tuple(found.values())


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
