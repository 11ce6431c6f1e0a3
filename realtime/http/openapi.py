"""The OpenAPI document, made from the operations and the very structs that validate them.

Built once when the API is mounted and served as bytes. It promises that whatever it says of a body, a parameter or an
answer is what the server checks and sends.
"""

import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from cluster.kernel.errors import (
    DEADLINE_EXCEEDED,
    INTERNAL,
    INVALID_REQUEST,
    OVERLOADED,
    RATE_LIMITED,
    TABLE,
    TOKEN_EXPIRED,
    TOO_LARGE,
    UNAUTHENTICATED,
    UNAVAILABLE,
    ErrorKind,
)
from realtime.http.fields import Nothing
from realtime.http.operations import Access, AnyOperation
from realtime.http.problems import CONTENT_TYPE, Problem

_TEMPLATE: Final = "#/components/schemas/{name}"
_PARAMETER = re.compile(r"\{(\w+)\}")
_EVERYWHERE: Final = (INVALID_REQUEST, RATE_LIMITED, OVERLOADED, UNAVAILABLE, DEADLINE_EXCEEDED, INTERNAL)
_SIGNED_IN: Final = (UNAUTHENTICATED, TOKEN_EXPIRED)

_SECURITY: Final[dict[Access, list[dict[str, list[str]]]]] = {
    "token": [{"bearer": []}],
    "optional": [{}, {"bearer": []}],
    "public": [],
}

ROOM_FORMS: Final = "A room's id, `event:{eventId}` or `dm:{a}:{b}`."


def document(operations: Sequence[AnyOperation], version: str) -> dict[str, Any]:
    """The whole document, OpenAPI 3.1."""
    shapes = [shape for row in operations for shape in (row.body, row.query, row.reply) if shape is not Nothing]
    unique = list(dict.fromkeys([Problem, *shapes]))
    schemas, components = msgspec.json.schema_components(unique, ref_template=_TEMPLATE)
    by_shape = dict(zip(unique, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for row in operations:
        paths.setdefault(row.path, {})[row.method.lower()] = _operation(row, by_shape, components)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Flow",
            "version": version,
            "description": "HTTP interface of Flow. Realtime traffic goes over Socket.IO on the same port.",
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": tag} for tag in dict.fromkeys(row.tag for row in operations)],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
        "x-errors": [
            {
                "code": kind.code,
                "status": kind.http_status,
                "title": kind.message,
                "retryable": kind.retryable,
                "closeCode": kind.close_code,
            }
            for kind in TABLE.values()
        ],
    }


def _operation(row: AnyOperation, by_shape: dict[Any, Any], components: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": row.name,
        "summary": row.summary,
        "tags": [row.tag],
        "parameters": _path_parameters(row.path) + _query_parameters(row, by_shape, components),
        "responses": _responses(row, by_shape),
        "security": _SECURITY[row.access],
    }
    if row.takes_body:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": by_shape[row.body]}}}
    return operation


def _path_parameters(path: str) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string"},
            "description": ROOM_FORMS if name == "roomId" else "24 hexadecimal characters.",
        }
        for name in _PARAMETER.findall(path)
    ]


def _query_parameters(row: AnyOperation, by_shape: dict[Any, Any], components: dict[str, Any]) -> list[dict[str, Any]]:
    if row.query is Nothing:
        return []
    schema = components[by_shape[row.query]["$ref"].rsplit("/", 1)[-1]]
    required = schema.get("required", ())
    return [
        {"name": name, "in": "query", "required": name in required, "schema": part}
        for name, part in schema["properties"].items()
    ]


def _responses(row: AnyOperation, by_shape: dict[Any, Any]) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    if row.reply is Nothing:
        responses["204"] = {"description": "Done."}
    else:
        content = {"application/json": {"schema": by_shape[row.reply]}}
        responses[str(row.status)] = {"description": row.reply.__name__, "content": content}
    kinds: list[ErrorKind] = [*row.errors, *_EVERYWHERE]
    if row.takes_body:
        kinds.append(TOO_LARGE)
    if row.access == "token":
        kinds.extend(_SIGNED_IN)
    for kind in kinds:
        status = str(kind.http_status)
        entry = responses.setdefault(
            status, {"description": "", "content": {CONTENT_TYPE: {"schema": by_shape[Problem]}}}
        )
        line = f"`{kind.code}`: {kind.message}"
        if line not in entry["description"]:
            entry["description"] = f"{entry['description']}\n{line}".strip()
    return responses
