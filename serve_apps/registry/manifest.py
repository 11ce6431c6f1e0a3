"""What a version says of itself, and what says which version is live. Pure."""

import hashlib
from typing import Any

import msgspec


class Signature(msgspec.Struct, frozen=True, kw_only=True):
    """What goes into a version and comes out of it, by name and type, and one digest of that and of all its files."""

    inputs: dict[str, str] = {}
    outputs: dict[str, str] = {}
    digest: str = ""


class Gate(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a version was found no worse than the one that was live, and in words why."""

    passed: bool
    reason: str
    compared_with: str | None = None


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a version is. `files` maps each file's path inside the version to its SHA-256; `created_ms` is wall time;
    `parent` was live when it was made."""

    name: str
    version: str
    created_ms: int
    code_version: str
    data_fingerprint: str
    metrics: dict[str, dict[str, float]]
    parameters: dict[str, Any]
    files: dict[str, str]
    kind: str = "two_tower"
    parent: str | None = None
    gate: Gate | None = None
    signature: Signature = Signature()


class Pointer(msgspec.Struct, frozen=True, kw_only=True):
    """Which version is live, which was before it, and which before that, newest first."""

    version: str
    previous: str | None = None
    earlier: tuple[str, ...] = ()


def signed(inputs: dict[str, str], outputs: dict[str, str], files: dict[str, str]) -> Signature:
    """The signature of a version with these files."""
    content = msgspec.json.encode([inputs, outputs, files], order="sorted")
    return Signature(inputs=inputs, outputs=outputs, digest=hashlib.sha256(content).hexdigest())
