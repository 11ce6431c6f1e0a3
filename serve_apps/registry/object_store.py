"""Versions behind an fsspec URL: `s3://bucket/models`, `gs://…`, `memory://…`. Implements `store.Store`.

An object store replaces one object in one step but has no rename of many. So a version's files are written first and
its manifest last: without a manifest there is no version. A version is fetched into a private local directory; of
fetched versions the newest few are kept.
"""

import shutil
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import fsspec

from cluster.kernel.errors import SETTINGS_INVALID, FlowError
from serve_apps.registry.store import MANIFEST

_KEPT_LOCALLY: Final = 3
_STALE: Final = timedelta(days=1)


class ObjectStore:
    """Versions as prefixes under `url`. Raises FlowError SETTINGS_INVALID for a URL that no installed driver takes."""

    def __init__(self, url: str) -> None:
        try:
            self._files, self._home = fsspec.core.url_to_fs(url)
        except (ValueError, ImportError) as error:
            raise FlowError(SETTINGS_INVALID, f"Models cannot be kept at {_shown(url)}: {error}.") from error
        self._home = self._home.rstrip("/")
        self._local = Path(tempfile.mkdtemp(prefix="flow-models-"))
        self._fetched: list[str] = []
        weakref.finalize(self, shutil.rmtree, self._local, ignore_errors=True)

    def versions(self) -> tuple[str, ...]:
        return tuple(name for name in self._directories() if self._files.exists(f"{self._home}/{name}/{MANIFEST}"))

    def read(self, path: str) -> bytes:
        content: bytes = self._files.cat_file(f"{self._home}/{path}")
        return content

    def replace(self, path: str, content: bytes) -> None:
        self._files.makedirs(self._home, exist_ok=True)
        self._files.pipe_file(f"{self._home}/{path}", content)

    @contextmanager
    def building(self, version: str) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="flow-building-") as name:
            directory = Path(name)
            yield directory
            paths = [path for path in sorted(directory.rglob("*")) if path.is_file()]
            for path in sorted(paths, key=lambda one: one == directory / MANIFEST):
                target = f"{self._home}/{version}/{path.relative_to(directory).as_posix()}"
                self._files.makedirs(target.rpartition("/")[0], exist_ok=True)
                self._files.put_file(str(path), target)

    def fetch(self, version: str) -> Path:
        remote = f"{self._home}/{version}"
        self._files.invalidate_cache()
        names: list[str] = self._files.find(remote)
        if not names:
            raise FileNotFoundError(version)
        directory = self._local / version
        shutil.rmtree(directory, ignore_errors=True)
        for name in names:
            target = directory / name[name.index(f"{version}/") + len(version) + 1 :]
            target.parent.mkdir(parents=True, exist_ok=True)
            self._files.get_file(name, str(target))
        self._keep(version)
        return directory

    def remove(self, version: str) -> None:
        remote = f"{self._home}/{version}"
        if self._files.exists(f"{remote}/{MANIFEST}"):
            self._files.rm_file(f"{remote}/{MANIFEST}")  # first what makes it a version
        if self._files.exists(remote):
            self._files.rm(remote, recursive=True)

    def remove_leftovers(self, now_ms: int) -> None:
        limit = datetime.fromtimestamp(now_ms / 1000, UTC) - _STALE
        whole = set(self.versions())
        for name in self._directories():
            if name not in whole and name[:15] < f"{limit:%Y%m%dT%H%M%S}":
                self.remove(name)

    def _directories(self) -> tuple[str, ...]:
        self._files.invalidate_cache()
        if not self._files.exists(self._home):
            return ()
        found: list[dict[str, Any]] = self._files.ls(self._home, detail=True)
        return tuple(one["name"].rstrip("/").rpartition("/")[2] for one in found if one["type"] == "directory")

    def _keep(self, version: str) -> None:
        self._fetched = [*(one for one in self._fetched if one != version), version]
        for old in self._fetched[:-_KEPT_LOCALLY]:
            shutil.rmtree(self._local / old, ignore_errors=True)
        self._fetched = self._fetched[-_KEPT_LOCALLY:]


def _shown(url: str) -> str:
    """Without what may be a password."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"
