"""The registry: whole or absent, verified, one live, the last good one kept."""

import threading
from pathlib import Path

import pytest

from cluster.kernel.clock import ManualClock
from cluster.kernel.errors import MODEL_INVALID, MODEL_NOT_FOUND, FlowError
from serve_apps.registry import KEPT_VERSIONS, Manifest, ModelRegistry


@pytest.fixture
def registry(tmp_path: Path) -> ModelRegistry:
    return ModelRegistry(tmp_path, clock=ManualClock())


def publish(registry: ModelRegistry, content: bytes = b"weights") -> Manifest:
    def write(directory: Path) -> None:
        (directory / "tower").mkdir()
        (directory / "tower" / "weights").write_bytes(content)
        (directory / "ids").write_bytes(b"a b c")

    return registry.publish(
        write,
        code_version="1",
        data_fingerprint="abc",
        metrics={"two_tower": {"ndcg@10": 0.5}},
        parameters={"featureVersion": 1},
    )


def refusal(registry: ModelRegistry, version: str) -> FlowError:
    with pytest.raises(FlowError) as caught:
        registry.verified(version)
    return caught.value


def test_what_is_published_is_listed_and_verified(registry: ModelRegistry) -> None:
    manifest = publish(registry)
    found, directory = registry.verified(manifest.version)
    assert found == manifest
    assert (directory / "tower" / "weights").read_bytes() == b"weights"
    assert registry.list() == (manifest,)
    assert registry.live() is None


def test_an_empty_registry_lists_nothing(registry: ModelRegistry) -> None:
    assert registry.list() == ()
    assert registry.live() is None


def test_a_failing_writer_leaves_nothing(registry: ModelRegistry, tmp_path: Path) -> None:
    def write(directory: Path) -> None:
        (directory / "half").write_bytes(b"of it")
        raise ValueError("the disk is full")

    with pytest.raises(ValueError, match="disk is full"):
        registry.publish(write, code_version="1", data_fingerprint="", metrics={}, parameters={})
    assert registry.list() == ()
    assert list((tmp_path / "two_tower").iterdir()) == []


def test_a_reader_sees_whole_versions_only(registry: ModelRegistry) -> None:
    """Whatever a reader finds while versions are being written verifies."""
    done = threading.Event()
    problems: list[FlowError] = []

    def read() -> None:
        while not done.is_set():
            for manifest in registry.list():
                try:
                    registry.verified(manifest.version)
                except FlowError as error:
                    problems.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for _ in range(10):
            publish(registry)
    finally:
        done.set()
        reader.join()
    assert problems == []


@pytest.mark.parametrize("path", ["tower/weights", "ids"])
def test_a_changed_file_is_refused(registry: ModelRegistry, path: str) -> None:
    version = publish(registry).version
    directory = registry.verified(version)[1]
    content = bytearray((directory / path).read_bytes())
    content[0] ^= 1
    (directory / path).write_bytes(content)
    error = refusal(registry, version)
    assert error.kind is MODEL_INVALID
    assert path in error.message


def test_a_missing_and_an_extra_file_are_refused(registry: ModelRegistry) -> None:
    first, second = publish(registry).version, publish(registry).version
    (registry.verified(first)[1] / "ids").unlink()
    (registry.verified(second)[1] / "more").write_bytes(b"")
    assert refusal(registry, first).kind is MODEL_INVALID
    assert refusal(registry, second).kind is MODEL_INVALID


@pytest.mark.parametrize("content", [b"", b"{", b'{"version": 3}', b"\xff\xfe"])
def test_a_damaged_manifest_is_refused_and_not_listed(registry: ModelRegistry, content: bytes) -> None:
    version = publish(registry).version
    (registry.verified(version)[1] / "manifest.json").write_bytes(content)
    assert refusal(registry, version).kind is MODEL_INVALID
    assert registry.list() == ()


def test_a_manifest_of_another_version_is_refused(registry: ModelRegistry) -> None:
    first, second = publish(registry).version, publish(registry).version
    one, other = registry.verified(first)[1], registry.verified(second)[1]
    (one / "manifest.json").write_bytes((other / "manifest.json").read_bytes())
    assert refusal(registry, first).kind is MODEL_INVALID


@pytest.mark.parametrize("version", ["nothing", "../../etc", "", ".building-x", "a/b"])
def test_an_unknown_version_is_not_found(registry: ModelRegistry, version: str) -> None:
    publish(registry)
    assert refusal(registry, version).kind is MODEL_NOT_FOUND


def test_promoting_remembers_the_version_before(registry: ModelRegistry) -> None:
    first, second = publish(registry).version, publish(registry).version
    registry.promote(first)
    registry.promote(second)
    registry.promote(second)
    pointer = registry.live()
    assert pointer is not None
    assert (pointer.version, pointer.previous) == (second, first)


def test_a_damaged_version_is_not_promoted_and_the_good_one_stays(registry: ModelRegistry) -> None:
    good, bad = publish(registry).version, publish(registry).version
    registry.promote(good)
    (registry.verified(bad)[1] / "ids").write_bytes(b"")
    with pytest.raises(FlowError):
        registry.promote(bad)
    pointer = registry.live()
    assert pointer is not None
    assert pointer.version == good


def test_a_damaged_pointer_is_told_and_mended_by_promoting(registry: ModelRegistry, tmp_path: Path) -> None:
    version = publish(registry).version
    (tmp_path / "two_tower" / "live.json").write_bytes(b"{")
    with pytest.raises(FlowError) as caught:
        registry.live()
    assert caught.value.kind is MODEL_INVALID
    assert registry.promote(version).version == version


def test_old_versions_go_but_never_the_live_one_or_the_one_before(tmp_path: Path) -> None:
    clock = ManualClock()
    registry = ModelRegistry(tmp_path, clock=clock)
    versions = []
    for _ in range(KEPT_VERSIONS + 5):
        clock.advance(1)
        versions.append(publish(registry).version)
        if len(versions) <= 2:
            registry.promote(versions[-1])
    left = {manifest.version for manifest in registry.list()}
    assert set(versions[:2]) <= left
    assert left == {*versions[:2], *versions[-KEPT_VERSIONS:]}
