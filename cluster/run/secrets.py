"""Secrets: read from the environment alone, made once for development, never printed.

The command line and the supervisor call `load`; actors get the result as an argument, so that every machine of the
cluster uses the same ones. In development a missing signing secret is made once and kept in `secrets.env` inside the
data directory, readable by its owner only. In production a missing one is an error. It never reads the settings file.
"""

import os
import secrets as randomness
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cluster.kernel.errors import SETTINGS_INVALID, FlowError

FILE_NAME: Final = "secrets.env"
MINIMUM_SECRET_BYTES: Final = 32

JWT_SECRET: Final = "FLOW_JWT_SECRET"  # noqa: S105 - the variable's name
JWT_PREVIOUS_SECRET: Final = "FLOW_JWT_PREVIOUS_SECRET"  # noqa: S105
CLUSTER_SECRET: Final = "FLOW_CLUSTER_SECRET"  # noqa: S105
MONGODB_URI: Final = "MONGODB_URI"
REDIS_URL: Final = "REDIS_URL"
RAY_ADDRESS: Final = "RAY_ADDRESS"
GOOGLE_CREDENTIALS: Final = "GOOGLE_APPLICATION_CREDENTIALS"
FCM_URL: Final = "FLOW_FCM_URL"

_GENERATED: Final = (JWT_SECRET, CLUSTER_SECRET)


@dataclass(frozen=True, slots=True)
class Secrets:
    """What only the environment may say. Its text never shows a value."""

    jwt_secret: str = field(repr=False)
    cluster_secret: str = field(repr=False)
    jwt_previous_secret: str | None = field(default=None, repr=False)
    mongodb_uri: str | None = field(default=None, repr=False)
    redis_url: str | None = field(default=None, repr=False)
    ray_address: str | None = None
    google_credentials: str | None = None
    fcm_url: str | None = None

    def described(self) -> dict[str, str]:
        """For people: which are set, without what they are."""
        return {
            JWT_SECRET: "set",
            CLUSTER_SECRET: "set",
            MONGODB_URI: "set" if self.mongodb_uri else "not set: embedded",
            REDIS_URL: "set" if self.redis_url else "not set: embedded",
            RAY_ADDRESS: self.ray_address or "not set: local",
            GOOGLE_CREDENTIALS: "set" if self.google_credentials else "not set: pushes are only logged",
        }


def load(environment: dict[str, str], data_directory: Path, *, development: bool, create: bool) -> Secrets:
    """The secrets of one installation: the environment first, then, in development, `secrets.env`.

    `create` makes the missing ones of a development installation. Raises FlowError SETTINGS_INVALID when one is
    missing or too short to be safe.
    """
    values = {name: value for name, value in environment.items() if value}
    if development:
        path = data_directory / FILE_NAME
        stored = _read(path)
        missing = [name for name in _GENERATED if name not in values and name not in stored]
        if missing and create:
            stored.update({name: randomness.token_urlsafe(48) for name in missing})
            _write(path, stored)
        values = {**stored, **values}
    return Secrets(
        jwt_secret=_required(values, JWT_SECRET),
        cluster_secret=_required(values, CLUSTER_SECRET),
        jwt_previous_secret=_checked(values, JWT_PREVIOUS_SECRET),
        mongodb_uri=values.get(MONGODB_URI),
        redis_url=values.get(REDIS_URL),
        ray_address=values.get(RAY_ADDRESS),
        google_credentials=values.get(GOOGLE_CREDENTIALS),
        fcm_url=values.get(FCM_URL),
    )


def _required(values: dict[str, str], name: str) -> str:
    value = _checked(values, name)
    if value is None:
        raise FlowError(
            SETTINGS_INVALID,
            f"{name} is not set. Set it in the environment to a random text of at least {MINIMUM_SECRET_BYTES} bytes, "
            "the same for every process of this installation.",
        )
    return value


def _checked(values: dict[str, str], name: str) -> str | None:
    value = values.get(name)
    if value is not None and len(value.encode()) < MINIMUM_SECRET_BYTES:
        raise FlowError(
            SETTINGS_INVALID,
            f"{name} has {len(value.encode())} bytes, too few to be safe. Use at least {MINIMUM_SECRET_BYTES}, random.",
        )
    return value


def _read(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        return {}
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name.strip(): value.strip() for name, equals, value in pairs if equals}


def _write(path: Path, values: dict[str, str]) -> None:
    """Readable by the owner alone from its first byte on, and whole or not there."""
    text = "# Made once for development. Whoever reads this file can sign in as anybody.\n"
    text += "".join(f"{name}={value}\n" for name, value in sorted(values.items()))
    temporary = path.with_suffix(".new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
