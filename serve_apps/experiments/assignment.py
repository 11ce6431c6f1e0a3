"""Who gets which treatment: a pure function of the experiment, the unit and the time.

Called by the recommendation pipeline. The same unit gets the same variation in every process and at every time, as long
as the experiment is not drawn anew. Whoever is not in the experiment gets the control and is not counted.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

from serve_apps.experiments.bucketing import choose, in_namespace, place_of
from serve_apps.experiments.definition import Experiment, Variation

Why = Literal["assigned", "overridden", "not_running", "not_targeted", "other_namespace", "not_covered"]


class Assignment(NamedTuple):
    """`counted` says whether an exposure is to be logged once the treatment is used; overrides never are."""

    experiment: Experiment
    variation: Variation
    why: Why

    @property
    def counted(self) -> bool:
        return self.why == "assigned"


def assign(
    experiment: Experiment,
    unit: str,
    now_ms: int,
    attributes: Mapping[str, str] | None = None,
    *,
    override: str | None = None,
    development: bool = False,
) -> Assignment:
    """`override` names a variation for testing. It counts in development and for the experiment's listed testers, and
    never past the kill switch; one that does not exist, or from anybody else, changes nothing."""
    control = experiment.variations[0]
    if override is not None and experiment.enabled and (development or unit in experiment.testers):
        wanted = experiment.variation(override)
        if wanted is not None:
            return Assignment(experiment, wanted, "overridden")
    if not experiment.runs_at(now_ms):
        return Assignment(experiment, control, "not_running")
    if not all(condition.holds(attributes or {}) for condition in experiment.targeting):
        return Assignment(experiment, control, "not_targeted")
    space = experiment.namespace
    if space is not None and not in_namespace(unit, space.name, space.part):
        return Assignment(experiment, control, "other_namespace")
    place = place_of(experiment.seed, unit, experiment.hash_version)
    index = None if place is None else choose(place, experiment.ranges)
    if index is None:
        return Assignment(experiment, control, "not_covered")
    return Assignment(experiment, experiment.variations[index], "assigned")
