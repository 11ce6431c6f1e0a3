"""Outside input into typed structs, or INVALID_REQUEST with the names of every offending field.

Called by the dispatcher for bodies and query strings. The structs' own annotations are the rules, and the same
annotations make the published schemas, so the two cannot disagree. Valid input takes one pass in C; only a refused
request is walked again to name its fields.
"""

import re
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeVar

import msgspec

from cluster.kernel.errors import INVALID_REQUEST, FlowError

T = TypeVar("T")

MAX_FIELDS: Final = 16
"""The most offending fields that one answer names."""

_MAX_NAME: Final = 64
_WHERE = re.compile(r"(.*?)(?: - at `(?:key in )?\$(.*)`)?\Z", re.DOTALL)


def decode_json(raw: bytes) -> Any:
    """Any JSON value; an empty body counts as an empty object. Raises FlowError INVALID_REQUEST."""
    if not raw:
        return {}
    try:
        return msgspec.json.decode(raw)
    except msgspec.MsgspecError:
        raise FlowError(INVALID_REQUEST, "The body is not valid JSON.", fields=("$",)) from None
    except RecursionError:
        raise FlowError(INVALID_REQUEST, "The body is nested too deeply.", fields=("$",)) from None


def shaped(value: Any, shape: type[T]) -> T:
    """A decoded JSON value as a struct, every type exact. Raises FlowError INVALID_REQUEST with `fields`."""
    return _convert(value, shape, strict=True)


def shaped_query(pairs: typing.Iterable[tuple[str, str]], shape: type[T]) -> T:
    """A query string as a struct: numbers and booleans are read from text, no name may come twice."""
    values: dict[str, str] = {}
    for name, text in pairs:
        if name in values:
            raise FlowError(INVALID_REQUEST, f"{_shown(name)} is given twice.", fields=(_shown(name),))
        if not (_is_text(name) and _is_text(text)):
            raise FlowError(INVALID_REQUEST, "The query is not UTF-8.", fields=(_shown(name),))
        values[name] = text
    return _convert(values, shape, strict=False)


def _is_text(value: str) -> bool:
    """False for what came out of bytes that are not UTF-8."""
    return value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value)


def _shown(name: object) -> str:
    """A field's name as an answer may repeat it."""
    return str(name)[:_MAX_NAME].encode(errors="replace").decode()


def _convert(value: Any, shape: type[T], *, strict: bool) -> T:
    try:
        return msgspec.convert(value, shape, strict=strict)
    except msgspec.ValidationError as error:
        found = dict(_offending(value, shape, strict, "")) or {"$": _reason(error)}
        names = list(found)[:MAX_FIELDS]
        sentence = "; ".join(f"{name}: {found[name]}" for name in names[:3])
        raise FlowError(INVALID_REQUEST, sentence, fields=tuple(names)) from None


def _reason(error: msgspec.ValidationError) -> str:
    match = _WHERE.match(str(error))
    return match.group(1) if match else "is not valid"


def _offending(value: Any, shape: Any, strict: bool, name: str) -> Iterator[tuple[str, str]]:
    """(field, reason) for everything wrong with `value`, by the wire's own names."""
    struct = _struct_of(shape)
    if struct is None or not isinstance(value, Mapping):
        yield from _offending_leaf(value, shape, strict, name)
        return
    parts = list(_offending_fields(value, struct, strict, name))
    yield from parts or _offending_leaf(value, struct, strict, name)


def _offending_fields(
    value: Mapping[str, Any], struct: type[msgspec.Struct], strict: bool, name: str
) -> Iterator[tuple[str, str]]:
    within = f"{name}." if name else ""
    fields = {field.encode_name: field for field in msgspec.structs.fields(struct)}
    for key in value:
        if key not in fields:
            yield f"{within}{_shown(key)}", "is not a field of this request"
    for key, field in fields.items():
        if key in value:
            yield from _offending(value[key], field.type, strict, within + key)
        elif field.required:
            yield within + key, "is required"


def _offending_leaf(value: Any, shape: Any, strict: bool, name: str) -> Iterator[tuple[str, str]]:
    try:
        msgspec.convert(value, shape, strict=strict)
    except msgspec.ValidationError as error:
        match = _WHERE.match(str(error))
        deeper = match.group(2) if match and match.group(2) else ""
        yield (name + deeper).removeprefix(".") or "$", _reason(error)


def _struct_of(shape: Any) -> type[msgspec.Struct] | None:
    """The struct inside an annotation such as `Place`, `Place | None` or `Place | UnsetType`."""
    origin = typing.get_origin(shape)
    if origin is typing.Annotated:
        return _struct_of(typing.get_args(shape)[0])
    if origin in (typing.Union, types.UnionType):
        return next((found for part in typing.get_args(shape) if (found := _struct_of(part))), None)
    return shape if isinstance(shape, type) and issubclass(shape, msgspec.Struct) else None
