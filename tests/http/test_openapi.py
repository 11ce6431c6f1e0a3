"""The published description: complete, true, and usable by a tool that knows nothing else."""

import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from cluster.kernel.errors import TABLE
from tests.http.harness import Api

pytestmark = pytest.mark.storage

PAGES = {"/", "/docs", "/docs/page.js", "/docs/page.css", "/metrics", "/v1/openapi.json"}


def parts(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
        for value in node.values():
            yield from parts(value)
    elif isinstance(node, list):
        for value in node:
            yield from parts(value)


async def test_every_route_is_described_and_every_description_has_a_route(api: Api) -> None:
    routes = {
        (route.method.lower(), route.resource.canonical)
        for route in api.client.app.router.routes()
        if route.method != "HEAD" and route.resource.canonical not in PAGES
    }
    described = {(method, path) for path, methods in api.description["paths"].items() for method in methods}
    assert described == routes


async def test_the_contract_is_there(api: Api) -> None:
    described = {f"{method.upper()} {path}" for path, methods in api.description["paths"].items() for method in methods}
    assert described >= {
        "POST /v1/auth/register",
        "POST /v1/auth/login",
        "POST /v1/auth/refresh",
        "POST /v1/auth/logout",
        "GET /v1/users/me",
        "PATCH /v1/users/me",
        "GET /v1/users/{id}",
        "POST /v1/users/me/devices",
        "DELETE /v1/users/me/devices",
        "POST /v1/users/me/friends/{id}",
        "DELETE /v1/users/me/friends/{id}",
        "POST /v1/events",
        "GET /v1/events",
        "GET /v1/events/{id}",
        "PATCH /v1/events/{id}",
        "POST /v1/events/{id}/rsvp",
        "GET /v1/events/{id}/attendees",
        "POST /v1/rooms",
        "GET /v1/rooms",
        "POST /v1/rooms/{roomId}/members",
        "DELETE /v1/rooms/{roomId}/members/me",
        "GET /v1/rooms/{roomId}/messages",
        "POST /v1/rooms/{roomId}/messages",
        "GET /v1/notifications",
        "POST /v1/interactions",
        "GET /v1/recommendations",
        "GET /healthz",
        "GET /readyz",
    }


async def test_every_reference_resolves_and_every_schema_is_one(api: Api) -> None:
    schemas = api.description["components"]["schemas"]
    references = {part["$ref"] for part in parts(api.description) if "$ref" in part}
    assert references
    assert {reference.removeprefix("#/components/schemas/") for reference in references} <= set(schemas)
    for schema in schemas.values():
        jsonschema.Draft202012Validator.check_schema(schema)


async def test_patterns_mean_the_same_to_a_browser(api: Api) -> None:
    """ECMAScript knows neither \\A nor \\Z nor inline flags."""
    patterns = [part["pattern"] for part in parts(api.description) if isinstance(part.get("pattern"), str)]
    assert patterns
    for pattern in patterns:
        _ = re.compile(pattern)
        assert not re.search(r"\\[AZ]|\(\?[aiLmsux]", pattern), pattern


async def test_path_parameters_are_declared_and_operations_have_names_of_their_own(api: Api) -> None:
    names = []
    for path, methods in api.description["paths"].items():
        for operation in methods.values():
            names.append(operation["operationId"])
            declared = {p["name"] for p in operation["parameters"] if p["in"] == "path"}
            assert declared == set(re.findall(r"\{(\w+)\}", path))
            assert operation["summary"].endswith(".")
    assert len(names) == len(set(names))


async def test_only_what_must_be_open_is_open(api: Api) -> None:
    is_open = {
        path
        for path, methods in api.description["paths"].items()
        for operation in methods.values()
        if {"bearer": []} not in operation["security"]
    }
    assert is_open == {"/v1/auth/register", "/v1/auth/login", "/v1/auth/refresh", "/healthz", "/readyz"}
    for path, methods in api.description["paths"].items():
        for method, operation in methods.items():
            if operation["security"] == [{"bearer": []}]:
                real = re.sub(r"\{\w+\}", "a" * 24, path)
                assert (await api.call(method.upper(), real)).code == "unauthenticated", (method, path)


async def test_requests_are_closed_and_answers_never_speak_of_passwords(api: Api) -> None:
    schemas = api.description["components"]["schemas"]
    for methods in api.description["paths"].values():
        for operation in methods.values():
            if "requestBody" in operation:
                reference = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
                assert schemas[reference.rsplit("/", 1)[-1]]["additionalProperties"] is False
            for status, response in operation["responses"].items():
                if status.startswith("2"):
                    assert "password" not in str(response).lower()
    for name in ("OwnUser", "PublicUser", "SignedIn", "Person"):
        assert "password" not in str(schemas[name]).lower()


async def test_the_whole_error_table_is_described(api: Api) -> None:
    assert {row["code"]: row["status"] for row in api.description["x-errors"]} == {
        code: kind.http_status for code, kind in TABLE.items()
    }


async def test_the_description_of_a_body_is_what_is_checked(api: Api) -> None:
    """A body that the schema refuses is refused, and one that it allows is taken."""
    ada = await api.someone()
    schemas = api.description["components"]
    validator = jsonschema.Draft202012Validator({"$ref": "#/components/schemas/NewEvent", "components": schemas})
    times = {"start": "2030-06-01T18:00:00Z", "end": "2030-06-01T20:00:00Z"}
    bodies: list[dict[str, Any]] = [
        {"title": "x", "datetime": times},
        {"title": "", "datetime": times},
        {"title": "x\n", "datetime": times},
        {"title": "x"},
        {"title": "x", "datetime": times, "surprise": 1},
        {"title": "x", "datetime": times, "capacity": {"max": 1}},
        {"title": "x", "datetime": times, "capacity": {"max": "1"}},
        {"title": "x", "datetime": times, "tags": ["a"] * 31},
        {"title": "x", "datetime": times, "location": {"type": "Point", "coordinates": [1, 2]}},
        {"title": "x", "datetime": times, "location": {"type": "Point", "coordinates": [1, 2, 3]}},
        {"title": "x", "datetime": times, "location": {"coordinates": [1, 2]}},
        {"title": "x", "datetime": times, "media": {"images": ["https://example.org/a\n"]}},
        {"title": "x", "datetime": times, "pricing": {"type": "free", "currency": "EURO"}},
    ]
    for body in bodies:
        answer = await api.call("POST", "/v1/events", body, who=ada)
        assert validator.is_valid(body) == (answer.status == 201), (body, answer.body)
