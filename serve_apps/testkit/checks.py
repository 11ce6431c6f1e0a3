"""What a stage must stand before it is put in front of people: one function a check, each says what was wrong.

Called by the command and by tests. A check raises `Failed` with a sentence; anything else a stage raises fails the
check too. The checks are those that serving makes (`pipeline.plugins`), and those it cannot make while somebody waits:
the same answer twice, nothing written to what it was given, and time.
"""

import pickle
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np

from serve_apps.contracts import RecommendationRequest
from serve_apps.pipeline.plugins import METHODS, wrong_places, wrong_rows, wrong_scores
from serve_apps.testkit import world

Kind = Literal["retriever", "ranker", "reranker", "matcher"]
BUDGET_MS: Final = 50.0
"""The deadline a plugin has when its settings name no other."""
_EVENTS: Final = 400
_ROUNDS: Final = 20


class Failed(Exception):
    """A check failed, for this reason."""


@dataclass(frozen=True, slots=True)
class Outcome:
    check: str
    problem: str | None


def kind_of(stage: Any) -> Kind:
    """By the one method it has. Raises Failed."""
    found = [kind for kind, method in METHODS.items() if callable(getattr(stage, method, None))]
    if len(found) != 1:
        raise Failed(f"{stage!r} has the methods of {len(found)} kinds of stage; it must have those of one")
    kind: Kind = found[0]  # type: ignore[assignment]
    return kind


def run(stage: Any, budget_ms: float = BUDGET_MS) -> list[Outcome]:
    """Every check for its kind, in order."""
    calls = _CALLS[kind_of(stage)]
    checks: dict[str, Callable[[], None]] = {
        "has a name": lambda: _has_a_name(stage),
        **{name: lambda call=call: _fails_if(call(stage)) for name, call in calls.items()},  # type: ignore[misc]
        "gives the same answer twice": lambda: _is_deterministic(stage),
        "can be sent to another process": lambda: _is_picklable(stage),
        f"answers within {budget_ms:g} ms": lambda: _is_quick(stage, budget_ms),
    }
    return [Outcome(name, _tried(check)) for name, check in checks.items()]


def _tried(check: Callable[[], None]) -> str | None:
    try:
        check()
    except Failed as failed:
        return str(failed)
    except Exception as error:  # noqa: BLE001  # whatever the stage raises is what the check found
        return f"{type(error).__name__}: {error}"
    return None


def _fails_if(problem: str | None) -> None:
    if problem is not None:
        raise Failed(problem)


def _has_a_name(stage: Any) -> None:
    if not isinstance(getattr(stage, "name", None), str) or not stage.name:
        raise Failed("it has no attribute `name` that is a text")


def _rank(stage: Any, people: int, each: int) -> Any:
    columns = world.columns_of(world.events(_EVENTS))
    return stage.rank(world.batch(world.people(columns.events)[:people], columns, each))


def _retrieve(stage: Any, limit: int, person: int = 0, count: int = _EVENTS, *, vectors: bool = True) -> str | None:
    columns = world.columns_of(world.events(count))
    request = world.people(columns.events, max(1, limit))[person]
    view = world.view(columns, with_vectors=vectors)
    return wrong_rows(stage.retrieve(request, view, limit), len(view.events), limit)


def _rerank(stage: Any, count: int, limit: int) -> str | None:
    events = world.events(count)
    scores = np.linspace(1, 0, count, dtype=np.float32)
    scores.flags.writeable = False
    return wrong_places(stage.rerank(_someone(limit), events, scores, limit), count, limit)


def _someone(limit: int) -> RecommendationRequest:
    return world.people((), limit)[1]


def _match(stage: Any, count: int) -> str | None:
    person, *others = world.strangers(count + 1)
    found: Sequence[Any] = stage.match(person, others)
    if [one.user_id for one in found] != [one.user_id for one in others]:
        return "it did not answer for the people it was asked about, in their order"
    if not all(np.isfinite(one.score) and 0.0 <= one.score <= 1.0 for one in found):
        return "a score is not a number from 0 to 1"
    return None


def _symmetric(stage: Any) -> str | None:
    people = world.strangers(12)
    for one in people:
        for other in people:
            there, back = stage.match(one, [other])[0].score, stage.match(other, [one])[0].score
            if abs(there - back) > 1e-9:
                return f"{one.user_id} and {other.user_id} score {there:g} and {back:g} with each other"
    return None


_CALLS: Final[dict[Kind, dict[str, Callable[[Any], str | None]]]] = {
    "ranker": {
        "scores every pair of several people": lambda stage: wrong_scores(_rank(stage, 4, 100), 400),
        "scores one pair": lambda stage: wrong_scores(_rank(stage, 1, 1), 1),
        "scores nothing when there is nothing": lambda stage: wrong_scores(_rank(stage, 0, 1), 0),
        "scores strangers and events that are not known": lambda stage: wrong_scores(_rank(stage, 2, 400), 800),
    },
    "retriever": {
        "proposes events of the catalogue": lambda stage: _retrieve(stage, 20),
        "proposes to a stranger": lambda stage: _retrieve(stage, 20, 1),
        "proposes to somebody whose past is gone": lambda stage: _retrieve(stage, 20, 2),
        "asks for no more than is left": lambda stage: _retrieve(stage, 500, 0, 10),
        "an empty catalogue": lambda stage: _retrieve(stage, 20, 0, 0),
        "works without a trained model": lambda stage: _retrieve(stage, 20, vectors=False),
    },
    "reranker": {
        "orders what it is given": lambda stage: _rerank(stage, 60, 20),
        "orders fewer than were asked for": lambda stage: _rerank(stage, 3, 20),
        "orders one": lambda stage: _rerank(stage, 1, 1),
        "nothing to order": lambda stage: _rerank(stage, 0, 5),
    },
    "matcher": {
        "scores everybody": lambda stage: _match(stage, 50),
        "scores nobody": lambda stage: _match(stage, 0),
        "is symmetric": _symmetric,
    },
}


def _once(stage: Any) -> Any:
    kind = kind_of(stage)
    columns = world.columns_of(world.events(_EVENTS))
    if kind == "ranker":
        return np.asarray(stage.rank(world.batch(world.people(columns.events), columns, 300))).tolist()
    if kind == "retriever":
        found = stage.retrieve(world.people(columns.events)[0], world.view(columns), 50)
        return [np.asarray(found.rows).tolist(), np.asarray(found.scores).tolist()]
    if kind == "reranker":
        scores = np.linspace(1, 0, 100, dtype=np.float32)
        return [int(place) for place in stage.rerank(_someone(20), columns.events[:100], scores, 20)]
    person, *others = world.strangers(301)
    return [one.score for one in stage.match(person, others)]


def _is_deterministic(stage: Any) -> None:
    if _once(stage) != _once(stage):
        raise Failed("it gave another answer to the same question")


def _is_picklable(stage: Any) -> None:
    if _once(pickle.loads(pickle.dumps(stage))) != _once(stage):  # noqa: S301  # what was pickled a moment ago
        raise Failed("it answers otherwise once it was pickled and read again")


def _is_quick(stage: Any, budget_ms: float) -> None:
    times = []
    for _ in range(_ROUNDS):
        started = time.perf_counter()
        _once(stage)
        times.append((time.perf_counter() - started) * 1000)
    median = sorted(times)[_ROUNDS // 2]
    if median > budget_ms:
        raise Failed(f"it takes {median:.1f} ms")
