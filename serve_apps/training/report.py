"""A comparison in words: the table, and a plain sentence of which model is worth serving. Pure."""

from collections.abc import Mapping
from typing import Final

from serve_apps.metrics import GATE, Metrics

_COLUMNS: Final = ("ndcg@10", "recall@10", "map@10", "mrr", "ndcg@20", "recall@20", "coverage@10", "novelty@10")
_LEARNED: Final = "two_tower"
CUT: Final = "ease_cut"
"""The row of EASE as it can be served: its strongest weights only. `ease` is measured with all of them."""


def table(results: Mapping[str, Metrics]) -> str:
    """Plain text, one row per model, then by warmth, and a sentence that says which is best."""
    warm = sorted({name for metrics in results.values() for name in metrics if ":" in name and "people:" not in name})
    lines = _table(results, [name for name in _COLUMNS if any(name in metrics for metrics in results.values())])
    if warm:
        lines += ["", *_table(results, warm)]
    return "\n".join([*lines, "", verdict(results)])


def _table(results: Mapping[str, Metrics], columns: list[str]) -> list[str]:
    width = max((len(name) for name in results), default=5)
    widths = [max(10, len(column)) for column in columns]
    lines = [
        " ".join([f"{'model':<{width}}", *(f"{name:>{size}}" for name, size in zip(columns, widths, strict=True))])
    ]
    for name, metrics in results.items():
        cells = (
            f"{metrics[column]:{size}.4f}" if column in metrics else f"{'-':>{size}}"
            for column, size in zip(columns, widths, strict=True)
        )
        lines.append(" ".join([f"{name:<{width}}", *cells]))
    return lines


def best(results: Mapping[str, Metrics]) -> str | None:
    """The kind with the highest NDCG@10; the one fitted first when they are equal. None when nothing was measured."""
    measured = {name: metrics[GATE] for name, metrics in results.items() if GATE in metrics and name != CUT}
    return max(measured, key=lambda name: measured[name]) if measured else None


def verdict(results: Mapping[str, Metrics]) -> str:
    """Which model wins, said plainly."""
    winner = best(results)
    if winner is None:
        return "Too little data to compare models: nobody has something left to find."
    top = results[winner][GATE]
    sentence = f"{winner} is best on {GATE}: {top:.4f}."
    others = {name: metrics[GATE] for name, metrics in results.items() if name not in (winner, CUT) and GATE in metrics}
    if winner == _LEARNED and others:
        second = max(others, key=lambda name: others[name])
        sentence = f"{winner} beats every simple model on {GATE}: {top:.4f} against {others[second]:.4f} of {second}."
    elif _LEARNED in others:
        sentence = (
            f"A simple model wins on {GATE}: {winner} has {top:.4f}, {_LEARNED} {others[_LEARNED]:.4f}. Serve {winner}."
        )
    whole, served = (results.get(name, {}).get(GATE) for name in ("ease", CUT))
    if whole is not None and served is not None:
        sentence += f" Cut as it is served, ease has {served:.4f} where all its weights give {whole:.4f}."
    metrics = results[winner]
    if metrics.get("people:cold", 0.0) == metrics.get("people"):
        sentence += " Everybody in the test part is unknown to the training part: this measures cold starts alone."
    return sentence
