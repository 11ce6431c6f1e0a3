"""Creates the missing indexes and checks those that exist. Called once by each process that opens storage.

It promises that when `ensure_indexes` returns every index of `storage/index_specs.py` exists as declared. It never
drops or changes an index: one that stands in the way is an operator's decision, and the start fails with its name.
"""

from typing import Any

from cluster.kernel.errors import START_FAILED, FlowError
from storage.client import Database
from storage.index_specs import INDEXES, IndexSpec


async def ensure_indexes(database: Database, *, build_ms: int, only: frozenset[str] | None = None) -> int:
    """Returns how many indexes were created; `only` limits the work to those collections.

    Raises FlowError START_FAILED when an index is in conflict or the data breaks a unique one, UNAVAILABLE.
    """
    created = 0
    for name in sorted({spec.collection for spec in INDEXES}):
        if only is not None and name not in only:
            continue
        collection = database.collection(name)
        existing = {index["name"]: index for index in await collection.indexes()}
        for spec in (spec for spec in INDEXES if spec.collection == name):
            if spec.name in existing:
                _check(spec, existing[spec.name])
                continue
            await collection.create_index(spec.keys, build_ms=build_ms, **spec.options())
            created += 1
    return created


def _check(spec: IndexSpec, found: dict[str, Any]) -> None:
    differences = [what for what, agrees in _comparison(spec, found).items() if not agrees]
    if differences:
        raise FlowError(
            START_FAILED,
            f"The index {spec.name} of {spec.collection} exists with another {' and '.join(differences)}; "
            "drop it and start again, and it is built anew.",
        )


def _comparison(spec: IndexSpec, found: dict[str, Any]) -> dict[str, bool]:
    text = {name for name, kind in spec.keys if kind == "text"}
    if text:
        same_keys = set(found.get("weights", ())) == text
    else:
        same_keys = [(name, kind) for name, kind in found["key"].items()] == list(spec.keys)
    return {
        "key": same_keys,
        "uniqueness": bool(found.get("unique", False)) == spec.unique,
        "partial filter": dict(found.get("partialFilterExpression", {})) == spec.partial,
        "expiry": (found.get("expireAfterSeconds") == 0) == spec.expire,
    }
