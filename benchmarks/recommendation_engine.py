"""What one request costs a replica, without Serve, HTTP or a database: CPU, agreement, and a new event's way in.

Random vectors in place of a trained model's: what a request costs does not depend on how good they are. It is CPU time
of one thread, so the figures hold on a busy machine. Prints one JSON line.
"""

import json
import random
import time
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
import numpy as np
import psutil
import typer

from benchmarks.percentiles import percentile
from cluster.kernel.clock import ManualClock
from serve_apps.contracts import (
    Acted,
    CatalogueEvent,
    CirclePlans,
    RecommendationKind,
    RecommendationRequest,
    ScoredEvent,
    Signals,
)
from serve_apps.engine import RecommendationEngine, StoredVectors
from serve_apps.features import Features
from serve_apps.guarded import Guarded
from serve_apps.pipeline.kinds import KINDS
from serve_apps.pipeline.pipeline import Pipeline
from serve_apps.pipeline.plugins import Plugins
from serve_apps.pipeline.settings import PipelineSettings
from serve_apps.retrieval import Vectors, best_rows

TOPICS = [f"topic-{number}" for number in range(60)]
NOW_MS = 1_800_000_000_000
WIDTH = 65
ROUNDS = 20


class RandomModel:
    """Implements `engine.LoadedModel`."""

    version = "random"

    def __init__(self) -> None:
        self.stored = StoredVectors({}, (), np.zeros((0, WIDTH), np.float32))
        self._chance = np.random.default_rng(1)

    def embed_people(self, people: Features, histories: Sequence[Sequence[str] | None] | None = None) -> Vectors:
        return self._chance.normal(size=(len(people.ids), WIDTH)).astype(np.float32)

    def embed_events(self, events: Features) -> Vectors:
        return self._chance.normal(size=(len(events.ids), WIDTH)).astype(np.float32)


def made_events(count: int, chance: random.Random) -> list[CatalogueEvent]:
    made = []
    for number in range(count):
        start = NOW_MS + chance.randrange(1, 1_440) * 3_600_000
        made.append(
            CatalogueEvent(
                event_id=f"{number:024x}",
                title=f"{chance.choice(TOPICS)} {chance.choice(TOPICS)} night",
                category=chance.choice(TOPICS),
                tags=tuple(chance.sample(TOPICS, 3)),
                coordinates=(13.4 + chance.gauss(0, 1.5), 52.5 + chance.gauss(0, 0.8)),
                start_ms=start,
                end_ms=start + 7_200_000,
                organizer_id=f"o{chance.randrange(5_000)}",
                published_ms=NOW_MS - chance.randrange(10**9),
            )
        )
    return made


def somebody(
    events: Sequence[CatalogueEvent], chance: random.Random, kind: RecommendationKind = "ai_personalized"
) -> RecommendationRequest:
    return RecommendationRequest(
        kind=kind,
        user_id=f"u{chance.randrange(10**9)}",
        limit=60,
        interests=tuple(chance.sample(TOPICS, 4)),
        coordinates=(13.4 + chance.gauss(0, 1), 52.5 + chance.gauss(0, 0.5)),
        history=tuple(Acted(chance.choice(events).event_id, 0.5, 0) for _ in range(3)),
        circle_plans=tuple(CirclePlans(chance.choice(events).event_id, 1, 1) for _ in range(2)),
        deadline_ms=60_000,
    )


def cost(
    engine: RecommendationEngine,
    events: Sequence[CatalogueEvent],
    size: int,
    chance: random.Random,
    kind: RecommendationKind = "ai_personalized",
) -> float:
    """Median CPU milliseconds a request in batches of `size`."""
    spent = []
    for _ in range(ROUNDS):
        requests = [somebody(events, chance, kind) for _ in range(size)]
        started = time.process_time()
        engine.answer(requests)
        spent.append((time.process_time() - started) * 1000 / size)
    return round(percentile(spent, 0.5), 2)


def agreement(engine: RecommendationEngine) -> float:
    """The share of a plain sort's best 150 that retrieval finds, over the vectors that the engine holds."""
    assert engine._live is not None  # noqa: SLF001
    vectors = engine._live.snapshot.vectors  # noqa: SLF001
    assert vectors is not None
    found = 0
    queries = np.random.default_rng(2).normal(size=(20, WIDTH)).astype(np.float32)
    for scores in queries @ vectors.T:
        found += np.intersect1d(best_rows(scores, 150), np.argsort(-scores, kind="stable")[:150]).size
    return found / (20 * 150)


def main(events: Annotated[int, typer.Option(help="Live events.")] = 100_000) -> None:
    """Measure the engine alone."""
    chance = random.Random(1)
    known = made_events(events, chance)
    settings = PipelineSettings()
    engine = RecommendationEngine(ManualClock(NOW_MS), 2 * events, Pipeline(settings, Plugins((), Guarded())))
    started = time.process_time()
    engine.use_events(known)
    engine.use_model(RandomModel())
    built = time.process_time() - started
    trending = tuple(ScoredEvent(one.event_id, 100.0 - place) for place, one in enumerate(known[:100]))
    engine.use_signals(Signals(trending=trending, going={one.event_id: 3 for one in known[:1_000]}))
    result: dict[str, Any] = {
        "case": "recommendation_engine",
        "events": events,
        "whole_catalogue_cpu_s": round(built, 2),
    }
    result["request_cpu_ms"] = {f"batch_{size}": cost(engine, known, size, chance) for size in (1, 4, 16)}
    result["kind_cpu_ms"] = {kind: cost(engine, known, 4, chance, kind) for kind in KINDS if KINDS[kind].source}
    started = time.process_time()
    for number in range(20):
        engine.use_changes([msgspec.structs.replace(known[number], title=f"another title {number}")])
    result["new_event_cpu_ms"] = round((time.process_time() - started) * 50, 2)
    result["agreement_with_exact"] = agreement(engine)
    result["memory_mb_without_tensorflow"] = round(psutil.Process().memory_info().rss / 1e6)
    print(json.dumps(result))


if __name__ == "__main__":
    typer.run(main)
