"""From scores to a list: freshness, business rules, diversity and organizer caps, in this order. Pure NumPy.

Used by the pipeline for one person at a time, whatever kind is asked for. Diversity is maximal marginal relevance
(Carbonell & Goldstein 1998) over the events' vectors, or over their topics where there is no model: each next event is
the one whose score, less `diversity` times its likeness to the most alike above it, is highest. It promises no row
twice, `limit` rows while there are that many, and never more of one organizer than the cap while anybody else is left.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from serve_apps.contracts import CatalogueEvent
from serve_apps.pipeline.columns import Columns, Floats, Rows
from serve_apps.pipeline.settings import PipelineSettings, Rule

WEEK_MS: Final = 7 * 24 * 3_600_000
LOOKED_AT: Final = 100
"""Diversity is weighed among so many of the best; the rest follow by score."""


def adjusted(scores: Floats, columns: Columns, rows: Rows, now_ms: int, settings: PipelineSettings) -> Floats:
    """Scores put on one scale (mean 0, spread 1), with freshness and rules; -inf for what a rule leaves out."""
    if rows.size == 0:
        return scores
    spread = float(scores.std())
    result: Floats = (scores - scores.mean()) / (spread if spread > 1e-6 else 1.0)
    if settings.freshness:
        age = np.maximum(0, now_ms - columns.published_ms[rows]) / WEEK_MS
        result = result + np.where(columns.published_ms[rows] > 0, settings.freshness * 0.5**age, 0.0)
    for rule in settings.rules:
        hit = np.fromiter((_hits(rule, columns.events[row]) for row in rows.tolist()), bool, rows.size)
        change = {"boost": rule.boost, "pin": 100.0, "exclude": -np.inf}[rule.action]
        result = np.where(hit, result + change, result)
    return result.astype(np.float32)


def _hits(rule: Rule, event: CatalogueEvent) -> bool:
    return (
        (not rule.categories or event.category in rule.categories)
        and (not rule.tags or not set(rule.tags).isdisjoint(event.tags))
        and (not rule.organizer_ids or event.organizer_id in rule.organizer_ids)
        and (rule.free is None or (event.price <= 0) == rule.free)
    )


def order(
    scores: Floats,
    likeness: Floats | None,
    organizers: npt.NDArray[np.int32],
    limit: int,
    settings: PipelineSettings,
    promised: Sequence[int] = (),
) -> list[int]:
    """Places of `scores`, best first; what scores -inf is left out.

    `likeness` is square, 0 to 1. The n-th of `promised` has one of the first n * `fresh_every` places, unless its
    organizer has as many as the cap allows.
    """
    left = scores > -np.inf
    base = np.where(left, scores, np.float32(-np.inf))  # -inf for what was chosen, too
    value = base.copy()
    weighed = None if likeness is None or not settings.diversity else np.float32(settings.diversity) * likeness
    nearest = np.zeros(scores.size, np.float32)
    counts: dict[int, int] = {}
    chosen: list[int] = []
    held_back: list[int] = []
    for _ in range(int(left.sum())):
        if len(chosen) >= limit:
            break
        best = _due(len(chosen) + 1, settings.fresh_every, promised)
        if best is None or not left[best] or _is_capped(counts, int(organizers[best]), settings):
            best = int(value.argmax())
        left[best], base[best], value[best] = False, -np.inf, -np.inf
        owner = int(organizers[best])
        if _is_capped(counts, owner, settings):
            held_back.append(best)
            continue
        counts[owner] = counts.get(owner, 0) + 1
        chosen.append(best)
        if weighed is not None:
            np.maximum(nearest, weighed[best], out=nearest)
            np.subtract(base, nearest, out=value)
    return chosen + held_back[: max(0, limit - len(chosen))]


def _due(place: int, every: int, promised: Sequence[int]) -> int | None:
    """The promised one whose last chance is this place."""
    nth, rest = divmod(place, every) if every else (0, 0)
    return promised[nth - 1] if nth and rest == 0 and nth <= len(promised) else None


def _is_capped(counts: dict[int, int], owner: int, settings: PipelineSettings) -> bool:
    return owner >= 0 and counts.get(owner, 0) >= settings.per_organizer


def likeness_of(vectors: Floats | None, topics: npt.NDArray[np.int32]) -> Floats:
    """How alike each two are, 0 to 1: by the angle of their vectors, else by shared topics."""
    if vectors is not None:
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        unit = vectors / np.where(lengths > 0, lengths, 1.0)
        angles: Floats = np.clip(unit @ unit.T, 0.0, 1.0)
        return angles
    shared = np.zeros((len(topics), len(topics)), np.float32)
    for column in range(min(4, topics.shape[1])):
        same = (topics[:, column, np.newaxis, np.newaxis] == topics[np.newaxis, :, :4]).any(axis=2)
        shared += same & (topics[:, column] > 0)[:, np.newaxis]
    shares: Floats = np.clip(shared / 4.0, 0.0, 1.0).astype(np.float32)
    return shares


def arranged(
    columns: Columns,
    vectors: Floats | None,
    rows: Rows,
    scores: Floats,
    limit: int,
    settings: PipelineSettings,
    fresh: Rows,
) -> Sequence[int]:
    """Places in `rows` in the order in which they are shown; `fresh` are those of them that are promised a look."""
    if rows.size == 0:
        return ()
    looked = _looked_at(columns.organizer[rows], scores, max(LOOKED_AT, limit), settings)
    known = {int(row): place for place, row in enumerate(rows[looked].tolist())}
    promised = []
    if settings.fresh_every:
        for row in fresh[: limit // settings.fresh_every].tolist():
            if row not in known:
                known[row] = looked.size
                looked = np.append(looked, np.flatnonzero(rows == row)[:1])
            promised.append(known[row])
    chosen_rows = rows[looked]
    near = None
    if settings.diversity:
        near = likeness_of(None if vectors is None else vectors[chosen_rows], columns.topics[chosen_rows])
    places = order(scores[looked], near, columns.organizer[chosen_rows], limit, settings, promised)
    return [int(looked[place]) for place in places]


def _looked_at(organizers: npt.NDArray[np.int32], scores: Floats, size: int, settings: PipelineSettings) -> Rows:
    """Places of the best, as many as `size`; of each organizer no more than the cap while there are others."""
    ranked = np.argsort(-scores, kind="stable")
    ranked = ranked[scores[ranked] > -np.inf]
    if ranked.size <= size:
        return ranked
    within: list[int] = []
    beyond: list[int] = []
    counts: dict[int, int] = {}
    most = settings.per_organizer
    for place, owner in zip(ranked.tolist(), organizers[ranked].tolist(), strict=True):
        count = counts.get(owner, 0)
        if count >= most and owner >= 0:
            beyond.append(place)
            continue
        counts[owner] = count + 1
        within.append(place)
        if len(within) == size:
            break
    return np.array((within + beyond)[:size], np.int64)
