"""What experiments change about one answer: which ranker, re-ranker and diversity, and what is to be logged for it.

Pure; used by the pipeline. A variation's parameters may name `ranker`, `reranker` or `diversity`. When two experiments
change the same thing the first one written wins; an experiment counts only where its treatment is really used. What
trends, is near or is social is left as it is by experiments that are not targeted at it by `kind`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from serve_apps.contracts import Exposure, RecommendationRequest
from serve_apps.experiments.assignment import Assignment, assign
from serve_apps.experiments.definition import Experiment

PARAMETERS = ("ranker", "reranker", "diversity")


@dataclass(frozen=True, slots=True)
class Treatment:
    """None means: as the settings say."""

    ranker: str | None = None
    reranker: str | None = None
    diversity: float | None = None
    exposures: tuple[Exposure, ...] = ()


def treatment(experiments: Sequence[Experiment], request: RecommendationRequest, now_ms: int) -> Treatment:
    chosen: dict[str, str | float | int | bool] = {}
    exposures = []
    for experiment in experiments:
        if request.kind != "ai_personalized" and not _is_about_kinds(experiment):
            continue
        given = assign(
            experiment,
            request.user_id,
            now_ms,
            request.attributes,
            override=request.overrides.get(experiment.key),
            development=request.development,
        )
        changes = {name for one in experiment.variations for name in one.parameters}
        if changes & chosen.keys():
            continue
        # The control takes its parameters too, so that a later experiment cannot change them under this one.
        if given.why in ("assigned", "overridden"):
            chosen |= {name: given.variation.parameters.get(name, "") for name in changes}
        if given.counted:
            exposures.append(_exposure(given, request, now_ms))
    diversity = chosen.get("diversity")
    return Treatment(
        ranker=str(chosen["ranker"]) if chosen.get("ranker") else None,
        reranker=str(chosen["reranker"]) if chosen.get("reranker") else None,
        diversity=float(diversity) if isinstance(diversity, (int, float)) else None,
        exposures=tuple(exposures),
    )


def _is_about_kinds(experiment: Experiment) -> bool:
    """A ranker alone changes nothing where no ranker decides."""
    changes = {name for one in experiment.variations for name in one.parameters}
    return changes != {"ranker"} and any(condition.attribute == "kind" for condition in experiment.targeting)


def _exposure(given: Assignment, request: RecommendationRequest, now_ms: int) -> Exposure:
    return Exposure(
        experiment=given.experiment.key,
        version=given.experiment.version,
        variation=given.variation.key,
        unit=request.user_id,
        at_ms=now_ms,
    )
