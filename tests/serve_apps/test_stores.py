"""The two places for versions, held to one contract."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import fsspec
import pytest

from cluster.kernel.clock import ManualClock
from cluster.kernel.errors import SETTINGS_INVALID, FlowError
from serve_apps.registry import ModelRegistry
from serve_apps.registry.object_store import ObjectStore
from serve_apps.registry.store import MANIFEST, DiskStore
from tests.serve_apps.contract_store import StoreContract


@pytest.fixture
def memory_url() -> Iterator[str]:
    url = f"memory://{uuid4().hex}/models"
    yield url
    files, home = fsspec.core.url_to_fs(url.rpartition("/")[0])
    if files.exists(home):
        files.rm(home, recursive=True)


class TestDiskStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> DiskStore:
        return DiskStore(tmp_path / "models")


class TestObjectStore(StoreContract):
    @pytest.fixture
    def store(self, memory_url: str) -> ObjectStore:
        return ObjectStore(memory_url)

    def test_without_its_manifest_a_version_is_not_there_yet(self, store: ObjectStore, memory_url: str) -> None:
        files, home = fsspec.core.url_to_fs(memory_url)
        files.makedirs(f"{home}/20200101T000000-abc")
        files.pipe_file(f"{home}/20200101T000000-abc/weights", b"half")
        assert store.versions() == ()
        store.remove_leftovers(1_577_836_800_000 + 3_600_000)
        assert files.exists(f"{home}/20200101T000000-abc/weights")
        store.remove_leftovers(1_577_836_800_000 + 2 * 86_400_000)
        assert not files.exists(f"{home}/20200101T000000-abc/weights")

    def test_only_the_newest_few_are_kept_locally(self, store: ObjectStore) -> None:
        directories = []
        for number in range(5):
            with store.building(f"v{number}") as directory:
                (directory / MANIFEST).write_bytes(b"{}")
            directories.append(store.fetch(f"v{number}"))
        assert [directory.exists() for directory in directories] == [False, False, True, True, True]


@pytest.fixture(params=["disk", "memory", "file"])
def registry(request: pytest.FixtureRequest, tmp_path: Path, memory_url: str) -> ModelRegistry:
    places: dict[str, Path | str] = {"disk": tmp_path, "memory": memory_url, "file": f"file://{tmp_path}"}
    return ModelRegistry(places[request.param], clock=ManualClock())


def published(registry: ModelRegistry, content: bytes = b"weights", kind: str = "ease") -> str:
    def write(directory: Path) -> None:
        (directory / "weights").write_bytes(content)

    return registry.publish(
        write, code_version="1", data_fingerprint="", metrics={}, parameters={}, kind=kind, inputs={"history": "ids"}
    ).version


def test_publish_promote_and_go_back(registry: ModelRegistry) -> None:
    one, two, three = (published(registry, str(number).encode()) for number in range(3))
    for version in (one, two, three):
        registry.promote(version)
    assert registry.rollback().version == two
    assert registry.rollback().version == one
    with pytest.raises(FlowError, match="no version before"):
        registry.rollback()
    pointer = registry.live()
    assert pointer is not None
    assert (pointer.version, pointer.previous) == (one, None)
    assert registry.verified(one)[1].joinpath("weights").read_bytes() == b"0"


def test_states(registry: ModelRegistry) -> None:
    one, two, three = (published(registry) for _ in range(3))
    registry.promote(one)
    registry.promote(two)
    pointer = registry.live()
    states = {manifest.version: registry.state(manifest, pointer) for manifest in registry.list()}
    assert states == {one: "previous", two: "live", three: "candidate"}


def test_going_back_to_a_damaged_version_changes_nothing(tmp_path: Path) -> None:
    registry = ModelRegistry(tmp_path)
    one, two = published(registry), published(registry)
    registry.promote(one)
    registry.promote(two)
    (tmp_path / "two_tower" / one / "weights").write_bytes(b"")
    with pytest.raises(FlowError, match="differs from its checksum"):
        registry.rollback()
    pointer = registry.live()
    assert pointer is not None
    assert pointer.version == two


def test_a_signature_of_other_files_is_refused(tmp_path: Path) -> None:
    registry = ModelRegistry(tmp_path)
    one = published(registry)
    path = tmp_path / "two_tower" / one / MANIFEST
    path.write_bytes(path.read_bytes().replace(b'"ids"', b'"ide"'))
    with pytest.raises(FlowError, match="signature"):
        registry.promote(one)


@pytest.mark.parametrize("url", ["nosuchscheme://bucket/models", "s3://user:password@bucket/models"])
def test_a_url_that_no_driver_takes_is_a_setting_to_correct(url: str) -> None:
    with pytest.raises(FlowError) as caught:
        ModelRegistry(url)
    assert caught.value.kind is SETTINGS_INVALID
    assert "password" not in caught.value.message
