"""Versions of models: written whole or not at all, verified before use, one of them live.

A store holds `<name>/<version>/` with a version's files and its `manifest.json`, and `<name>/live.json`, which names
the live version and those before it. Called by training, the command line and the recommender's replicas, from several
processes at once. It promises that a reader never sees a half-written version or pointer, and that a version whose
files differ from its manifest is refused with MODEL_INVALID. All methods block: call them from a thread. It never
imports TensorFlow and knows nothing of what the files mean.
"""

import hashlib
import re
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from cluster.kernel.clock import Clock, SystemClock
from cluster.kernel.errors import MODEL_INVALID, MODEL_NOT_FOUND, FlowError
from serve_apps.registry.manifest import Gate, Manifest, Pointer, signed
from serve_apps.registry.object_store import ObjectStore
from serve_apps.registry.store import MANIFEST, DiskStore, Store

POINTER: Final = "live.json"
KEPT_VERSIONS: Final = 20
"""Publishing removes the oldest versions beyond this many; never the live one or the one before it. A pointer remembers
as many."""

_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z_.-]{0,63}\Z")


class ModelRegistry:
    """The versions of one model `name` under `models_dir`: a directory, or an fsspec URL."""

    def __init__(self, models_dir: Path | str, name: str = "two_tower", clock: Clock | None = None) -> None:
        self._store = _store(models_dir, name)
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
        kind: str = "two_tower",
        parent: str | None = None,
        gate: Gate | None = None,
        inputs: dict[str, str] | None = None,
        outputs: dict[str, str] | None = None,
    ) -> Manifest:
        """Make a new version of the files that `write` puts into the directory it is given. It is not live yet."""
        now_ms = self._clock.now_ms()
        version = f"{datetime.fromtimestamp(now_ms / 1000, UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"
        self._store.remove_leftovers(now_ms)
        with self._store.building(version) as directory:
            write(directory)
            files = _digests(directory)
            manifest = Manifest(
                name=self._name,
                version=version,
                created_ms=now_ms,
                code_version=code_version,
                data_fingerprint=data_fingerprint,
                metrics=metrics,
                parameters=parameters,
                files=files,
                kind=kind,
                parent=parent,
                gate=gate,
                signature=signed(inputs or {}, outputs or {}, files),
            )
            (directory / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=2))
        self._prune()
        return manifest

    def list(self) -> tuple[Manifest, ...]:
        """Every readable version, newest first; a version whose manifest cannot be read is left out."""
        manifests = []
        for version in self._store.versions():
            try:
                manifests.append(self.manifest(version))
            except FlowError:
                continue  # `verified` tells why when somebody asks for that version
        return tuple(sorted(manifests, key=lambda manifest: (manifest.created_ms, manifest.version), reverse=True))

    def manifest(self, version: str) -> Manifest:
        """Raises FlowError MODEL_NOT_FOUND or MODEL_INVALID."""
        if not _VERSION.match(version):
            raise FlowError(MODEL_NOT_FOUND, "That is not the form of a model version.")
        try:
            manifest = msgspec.json.decode(self._store.read(f"{version}/{MANIFEST}"), type=Manifest)
        except FileNotFoundError:
            if version in self._store.versions():
                raise FlowError(MODEL_INVALID, f"Model version {version} has no manifest.") from None
            raise FlowError(MODEL_NOT_FOUND, f"There is no model version {version}.") from None
        except msgspec.MsgspecError as error:
            raise FlowError(MODEL_INVALID, f"The manifest of model version {version} is damaged: {error}.") from error
        if manifest.version != version or manifest.name != self._name:
            raise FlowError(MODEL_INVALID, f"The manifest in {version} belongs to {manifest.name} {manifest.version}.")
        return manifest

    def verified(self, version: str) -> tuple[Manifest, Path]:
        """The version's manifest and a directory with its files, after every file was compared with its checksum.

        Raises FlowError MODEL_NOT_FOUND or MODEL_INVALID.
        """
        manifest = self.manifest(version)
        try:
            directory = self._store.fetch(version)
        except FileNotFoundError:
            raise FlowError(MODEL_NOT_FOUND, f"There is no model version {version} any longer.") from None
        found = _digests(directory)
        for path, digest in manifest.files.items():
            if path not in found:
                raise FlowError(MODEL_INVALID, f"Model version {version} lacks {path}.")
            if found[path] != digest:
                raise FlowError(MODEL_INVALID, f"{path} of model version {version} differs from its checksum.")
        extra = found.keys() - manifest.files.keys()
        if extra:
            raise FlowError(MODEL_INVALID, f"Model version {version} holds {min(extra)}, which its manifest lacks.")
        signature = manifest.signature
        if signature.digest and signature != signed(signature.inputs, signature.outputs, manifest.files):
            raise FlowError(MODEL_INVALID, f"The signature of model version {version} is not that of its files.")
        return manifest, directory

    def promote(self, version: str) -> Pointer:
        """Make a verified version live; replicas follow within seconds. Raises as `verified` does."""
        self.verified(version)
        try:
            current = self.live()
        except FlowError:
            current = None  # a damaged pointer is what promoting repairs
        if current is None:
            pointer = Pointer(version=version)
        elif current.version == version:
            pointer = current
        else:
            before = [one for one in (current.previous, *current.earlier) if one is not None and one != version]
            pointer = Pointer(version=version, previous=current.version, earlier=tuple(before[: KEPT_VERSIONS - 2]))
        return self._point(pointer)

    def rollback(self) -> Pointer:
        """Make the version before the live one live again; once more goes back one further.

        Raises FlowError MODEL_NOT_FOUND when there is none, and as `verified` does.
        """
        current = self.live()
        if current is None or current.previous is None:
            raise FlowError(MODEL_NOT_FOUND, "There is no version before the live one to go back to.")
        self.verified(current.previous)
        before = current.earlier[0] if current.earlier else None
        return self._point(Pointer(version=current.previous, previous=before, earlier=current.earlier[1:]))

    def live(self) -> Pointer | None:
        """The live version, None before the first promotion. Raises FlowError MODEL_INVALID for a damaged pointer."""
        try:
            return msgspec.json.decode(self._store.read(POINTER), type=Pointer)
        except FileNotFoundError:
            return None
        except msgspec.MsgspecError as error:
            raise FlowError(MODEL_INVALID, f"The pointer to the live model is damaged: {error}.") from error

    def state(self, manifest: Manifest, pointer: Pointer | None) -> str:
        """ "live", "previous" (rolling back leads there), "rejected" by the gate, or "candidate"."""
        if pointer is not None and manifest.version == pointer.version:
            return "live"
        if pointer is not None and manifest.version == pointer.previous:
            return "previous"
        return "rejected" if manifest.gate is not None and not manifest.gate.passed else "candidate"

    def _point(self, pointer: Pointer) -> Pointer:
        self._store.replace(POINTER, msgspec.json.encode(pointer))
        return pointer

    def _prune(self) -> None:
        try:
            pointer = self.live()
        except FlowError:
            return  # without the pointer nobody knows what is in use
        kept = {pointer.version, pointer.previous} if pointer else set()
        for manifest in self.list()[KEPT_VERSIONS:]:
            if manifest.version not in kept:
                self._store.remove(manifest.version)


def _store(models_dir: Path | str, name: str) -> Store:
    if isinstance(models_dir, str) and "://" in models_dir:
        if not models_dir.startswith("file://"):
            return ObjectStore(f"{models_dir.rstrip('/')}/{name}")
        models_dir = models_dir.removeprefix("file://")
    return DiskStore(Path(models_dir) / name)


def _digests(directory: Path) -> dict[str, str]:
    digests = {}
    for path in sorted(directory.rglob("*")):
        if path.is_file() and path.name != MANIFEST:
            with path.open("rb") as file:
                digests[path.relative_to(directory).as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests
