"""Turns what pydantic says about a settings file into one sentence a person can act on.

Called by cluster.run.settings alone. The sentence names the key with its whole path, the value found and what to do;
for an unknown key it names the nearest known one.
"""

import dataclasses
import difflib
from typing import Any

from pydantic import BaseModel, ValidationError

_UNKNOWN = frozenset({"extra_forbidden", "unexpected_keyword_argument"})
_MAX_VALUE = 60


def sentence(error: ValidationError, model: type[BaseModel], file_name: str) -> str:
    """The first fault, and how many more there are."""
    faults = error.errors(include_url=False)
    first = faults[0]
    path = tuple(str(part) for part in first["loc"])
    key = ".".join(("flow", *path))
    if first["type"] in _UNKNOWN:
        text = f"{key} in {file_name} is not a setting. {_advice(model, path)}"
    else:
        value = repr(first["input"])
        shown = value if len(value) <= _MAX_VALUE else f"{value[:_MAX_VALUE]}…"
        text = f"{key} in {file_name} is {shown}: {_reason(first['msg'])}. Correct the value."
    more = len(faults) - 1
    return text if not more else f"{text} ({more} more {'fault' if more == 1 else 'faults'} in the file.)"


def _reason(message: str) -> str:
    """pydantic speaks of "Input"; our own limits speak in sentences that name the key."""
    own = message.removeprefix("Value error, ")
    return own if own != message else f"it {message.removeprefix('Input ')}"


def _advice(model: type[Any], path: tuple[str, ...]) -> str:
    known = _keys(model, path[:-1])
    near = difflib.get_close_matches(path[-1], known, n=1)
    if near:
        return f"Did you mean {'.'.join(('flow', *path[:-1], near[0]))}?"
    return f"Remove it, or use one of: {', '.join(sorted(known))}."


def _keys(model: Any, path: tuple[str, ...]) -> list[str]:
    """The keys that the section at `path` knows."""
    for part in path:
        if isinstance(model, type) and issubclass(model, BaseModel):
            model = model.model_fields[part].annotation
        else:
            model = {field.name: field.type for field in dataclasses.fields(model)}[part]
    if isinstance(model, type) and issubclass(model, BaseModel):
        return list(model.model_fields)
    return [field.name for field in dataclasses.fields(model)] if dataclasses.is_dataclass(model) else []
