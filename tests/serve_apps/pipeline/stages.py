"""Stages that tests bring: one of each kind that works, and rankers that do what they must not."""

import threading
from typing import Any

import numpy as np

from serve_apps.contracts import CatalogueView, RankingBatch, RecommendationRequest, Retrieved

RELEASE = threading.Event()
"""Set by a test that used `Hangs`, when it is done."""


class ByPrice:
    """The dearest first."""

    name = "by_price"

    def rank(self, batch: RankingBatch) -> np.ndarray:
        return batch.features[:, batch.names.index("price")]


class Raises:
    name = "raises"

    def rank(self, batch: RankingBatch) -> np.ndarray:
        raise KeyError("weights")


class Hangs:
    name = "hangs"

    def rank(self, batch: RankingBatch) -> np.ndarray:
        RELEASE.wait()
        return np.zeros(len(batch.features), np.float32)


class WrongLength:
    name = "wrong_length"

    def rank(self, batch: RankingBatch) -> np.ndarray:
        return np.zeros(len(batch.features) + 1, np.float32)


class NotANumber:
    name = "not_a_number"

    def rank(self, batch: RankingBatch) -> np.ndarray:
        return np.full(len(batch.features), np.nan, np.float32)


class Chance:
    """Another answer each time."""

    name = "chance"

    def rank(self, batch: RankingBatch) -> np.ndarray:
        return np.random.default_rng().normal(size=len(batch.features))


class First:
    """Proposes the first rows of the catalogue, open or not: serving leaves out what may not be shown."""

    name = "first"

    def retrieve(self, request: RecommendationRequest, catalogue: CatalogueView, limit: int) -> Retrieved:
        rows = np.arange(min(limit, len(catalogue.events)))
        return Retrieved(rows, np.ones(rows.size, np.float32))


class Backwards:
    name = "backwards"

    def rerank(self, request: RecommendationRequest, events: Any, scores: Any, limit: int) -> list[int]:
        return list(range(len(events)))[::-1][:limit]


class Nameless:
    def rank(self, batch: RankingBatch) -> np.ndarray:
        return np.zeros(len(batch.features))
