"""Versions of models on disk: written whole or not at all, verified before use, one of them live.

`<models_dir>/<name>/<version>/` holds a version's files and its `manifest.json`; `live.json` beside the versions names
the live one and the one before it. Called by training, the command line and the recommender's replicas, from several
processes at once. It promises that a reader never sees a half-written version or pointer, and that a version whose
files differ from its manifest is refused with MODEL_INVALID. All methods block on the disk: call them from a thread.
It never imports TensorFlow and knows nothing of what the files mean.
"""

import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from cluster.kernel.clock import Clock, SystemClock
from cluster.kernel.errors import MODEL_INVALID, MODEL_NOT_FOUND, FlowError

MANIFEST: Final = "manifest.json"
POINTER: Final = "live.json"
KEPT_VERSIONS: Final = 20
"""Publishing removes the oldest versions beyond this many; never the live one or the one before it."""

_STALE_SECONDS: Final = 24 * 3600
_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z_.-]{0,63}\Z")


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a version is. `files` maps each file's path inside the version to its SHA-256; `created_ms` is wall time."""

    name: str
    version: str
    created_ms: int
    code_version: str
    data_fingerprint: str
    metrics: dict[str, dict[str, float]]
    parameters: dict[str, Any]
    files: dict[str, str]


class Pointer(msgspec.Struct, frozen=True, kw_only=True):
    """Which version is live, and which was before it."""

    version: str
    previous: str | None = None


class ModelRegistry:
    """The versions of one model `name` under `models_dir`."""

    def __init__(self, models_dir: Path, name: str = "two_tower", clock: Clock | None = None) -> None:
        self._home = models_dir / name
        self._name = name
        self._clock = clock or SystemClock()

    def publish(
        self,
        write: Callable[[Path], None],
        *,
        code_version: str,
        data_fingerprint: str,
        metrics: dict[str, dict[str, float]],
        parameters: dict[str, Any],
    ) -> Manifest:
        """Make a new version of the files that `write` puts into the directory it is given. It is not live yet."""
        now_ms = self._clock.now_ms()
        version = f"{datetime.fromtimestamp(now_ms / 1000, UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"
        self._home.mkdir(parents=True, exist_ok=True)
        self._remove_leftovers(now_ms)
        building = self._home / f".building-{version}"
        building.mkdir()
        try:
            write(building)
            manifest = Manifest(
                name=self._name,
                version=version,
                created_ms=now_ms,
                code_version=code_version,
                data_fingerprint=data_fingerprint,
                metrics=metrics,
                parameters=parameters,
                files=_digests(building),
            )
            _write_durably(building / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest), indent=2))
            _synchronise_tree(building)
            building.rename(self._home / version)
            _synchronise(self._home)
        finally:
            shutil.rmtree(building, ignore_errors=True)
        self._prune()
        return manifest

    def list(self) -> tuple[Manifest, ...]:
        """Every readable version, newest first; a version whose manifest cannot be read is left out."""
        manifests = []
        for directory in self._directories():
            try:
                manifests.append(self.manifest(directory.name))
            except FlowError:
                continue  # `verified` tells why when somebody asks for that version
        return tuple(sorted(manifests, key=lambda manifest: (manifest.created_ms, manifest.version), reverse=True))

    def manifest(self, version: str) -> Manifest:
        """Raises FlowError MODEL_NOT_FOUND or MODEL_INVALID."""
        path = self._directory(version) / MANIFEST
        try:
            manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
        except FileNotFoundError:
            if path.parent.is_dir():
                raise FlowError(MODEL_INVALID, f"Model version {version} has no manifest.") from None
            raise FlowError(MODEL_NOT_FOUND, f"There is no model version {version}.") from None
        except msgspec.MsgspecError as error:
            raise FlowError(MODEL_INVALID, f"The manifest of model version {version} is damaged: {error}.") from error
        if manifest.version != version or manifest.name != self._name:
            raise FlowError(MODEL_INVALID, f"The manifest in {version} belongs to {manifest.name} {manifest.version}.")
        return manifest

    def verified(self, version: str) -> tuple[Manifest, Path]:
        """The version's manifest and directory, after every file was compared with its checksum.

        Raises FlowError MODEL_NOT_FOUND or MODEL_INVALID.
        """
        manifest = self.manifest(version)
        directory = self._directory(version)
        found = _digests(directory)
        for path, digest in manifest.files.items():
            if path not in found:
                raise FlowError(MODEL_INVALID, f"Model version {version} lacks {path}.")
            if found[path] != digest:
                raise FlowError(MODEL_INVALID, f"{path} of model version {version} differs from its checksum.")
        extra = found.keys() - manifest.files.keys()
        if extra:
            raise FlowError(MODEL_INVALID, f"Model version {version} holds {min(extra)}, which its manifest lacks.")
        return manifest, directory

    def promote(self, version: str) -> Pointer:
        """Make a verified version live; replicas follow within seconds. Raises as `verified` does."""
        self.verified(version)
        try:
            current = self.live()
        except FlowError:
            current = None  # a damaged pointer is what promoting repairs
        previous = None if current is None else current.previous if current.version == version else current.version
        pointer = Pointer(version=version, previous=previous)
        temporary = self._home / f".pointer-{secrets.token_hex(6)}"
        _write_durably(temporary, msgspec.json.encode(pointer))
        temporary.replace(self._home / POINTER)
        _synchronise(self._home)
        return pointer

    def live(self) -> Pointer | None:
        """The live version, None before the first promotion. Raises FlowError MODEL_INVALID for a damaged pointer."""
        try:
            return msgspec.json.decode((self._home / POINTER).read_bytes(), type=Pointer)
        except FileNotFoundError:
            return None
        except msgspec.MsgspecError as error:
            raise FlowError(MODEL_INVALID, f"The pointer to the live model is damaged: {error}.") from error

    def _directory(self, version: str) -> Path:
        if not _VERSION.match(version):
            raise FlowError(MODEL_NOT_FOUND, "That is not the form of a model version.")
        return self._home / version

    def _directories(self) -> tuple[Path, ...]:
        if not self._home.is_dir():
            return ()
        return tuple(path for path in self._home.iterdir() if path.is_dir() and _VERSION.match(path.name))

    def _prune(self) -> None:
        try:
            pointer = self.live()
        except FlowError:
            return  # without the pointer nobody knows what is in use
        kept = {pointer.version, pointer.previous} if pointer else set()
        for manifest in self.list()[KEPT_VERSIONS:]:
            if manifest.version not in kept:
                shutil.rmtree(self._directory(manifest.version), ignore_errors=True)

    def _remove_leftovers(self, now_ms: int) -> None:
        """Whatever a crashed publisher left; a day is longer than any training run takes to write its files."""
        for path in self._home.glob(".building-*"):
            if path.stat().st_mtime < now_ms / 1000 - _STALE_SECONDS:
                shutil.rmtree(path, ignore_errors=True)


def _digests(directory: Path) -> dict[str, str]:
    digests = {}
    for path in sorted(directory.rglob("*")):
        if path.is_file() and path.name != MANIFEST:
            with path.open("rb") as file:
                digests[path.relative_to(directory).as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests


def _write_durably(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _synchronise_tree(directory: Path) -> None:
    for path in (*directory.rglob("*"), directory):
        _synchronise(path)


def _synchronise(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
