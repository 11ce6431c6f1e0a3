"""Where versions are kept: the port of the registry, and its implementation on a disk.

Every implementation passes `tests/serve_apps/contract_store.py`. Promises: a version appears whole or not at all, and
one small file (the pointer) is replaced in one step, so that a reader sees the old one or the new one. All methods
block.
"""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final, Protocol

MANIFEST: Final = "manifest.json"
_BUILDING: Final = ".building-"
_STALE_SECONDS: Final = 24 * 3600


class Store(Protocol):
    """Versions by name, and small files beside them. `path` is relative, with slashes."""

    def versions(self) -> tuple[str, ...]:
        """The names of all versions, in any order, those included that were damaged later."""

    def read(self, path: str) -> bytes:
        """Raises FileNotFoundError."""

    def replace(self, path: str, content: bytes) -> None:
        """Durably and in one step."""

    def building(self, version: str) -> AbstractContextManager[Path]:
        """A local directory to write a version's files into; it becomes the version when the block ends well. The
        manifest in it is what makes it one."""

    def fetch(self, version: str) -> Path:
        """A local directory with exactly the version's files. Raises FileNotFoundError."""

    def remove(self, version: str) -> None: ...

    def remove_leftovers(self, now_ms: int) -> None:
        """Whatever a crashed publisher left; a day is longer than any training run takes to write its files."""


class DiskStore:
    """Versions as directories under `home`."""

    def __init__(self, home: Path) -> None:
        self._home = home

    def versions(self) -> tuple[str, ...]:
        if not self._home.is_dir():
            return ()
        return tuple(path.name for path in self._home.iterdir() if path.is_dir() and not path.name.startswith("."))

    def read(self, path: str) -> bytes:
        return (self._home / path).read_bytes()

    def replace(self, path: str, content: bytes) -> None:
        self._home.mkdir(parents=True, exist_ok=True)
        temporary = self._home / f".replacing-{secrets.token_hex(6)}"
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._home / path)
        _synchronise(self._home)

    @contextmanager
    def building(self, version: str) -> Iterator[Path]:
        self._home.mkdir(parents=True, exist_ok=True)
        directory = self._home / f"{_BUILDING}{version}"
        directory.mkdir()
        try:
            yield directory
            for path in (*directory.rglob("*"), directory):
                _synchronise(path)
            directory.rename(self._home / version)
            _synchronise(self._home)
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def fetch(self, version: str) -> Path:
        if not (self._home / version).is_dir():
            raise FileNotFoundError(version)
        return self._home / version

    def remove(self, version: str) -> None:
        shutil.rmtree(self._home / version, ignore_errors=True)

    def remove_leftovers(self, now_ms: int) -> None:
        for path in self._home.glob(f"{_BUILDING}*"):
            if path.stat().st_mtime < now_ms / 1000 - _STALE_SECONDS:
                shutil.rmtree(path, ignore_errors=True)


def _synchronise(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
