"""What every place for versions promises; run on a disk and on an object store in memory."""

import pytest

from serve_apps.registry.store import MANIFEST, Store


def put(store: Store, version: str, content: bytes = b"weights") -> None:
    with store.building(version) as directory:
        (directory / "tower").mkdir()
        (directory / "tower" / "weights").write_bytes(content)
        (directory / MANIFEST).write_bytes(b"{}")


def fail_while_building(store: Store) -> None:
    with store.building("v1") as directory:
        (directory / MANIFEST).write_bytes(b"{}")
        raise ValueError("the disk is full")


class StoreContract:
    """Subclasses have a fixture `store`."""

    def test_nothing_is_there_at_first(self, store: Store) -> None:
        assert store.versions() == ()
        with pytest.raises(FileNotFoundError):
            store.read("live.json")
        with pytest.raises(FileNotFoundError):
            store.fetch("v1")

    def test_a_version_comes_back_whole(self, store: Store) -> None:
        put(store, "v1")
        put(store, "v2", b"other")
        assert set(store.versions()) == {"v1", "v2"}
        directory = store.fetch("v1")
        found = {path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()}
        assert found == {"tower/weights", MANIFEST}
        assert (directory / "tower" / "weights").read_bytes() == b"weights"
        assert store.read("v2/tower/weights") == b"other"

    def test_what_fails_while_building_leaves_nothing(self, store: Store) -> None:
        with pytest.raises(ValueError, match="full"):
            fail_while_building(store)
        assert store.versions() == ()
        with pytest.raises(FileNotFoundError):
            store.fetch("v1")

    def test_a_small_file_is_replaced(self, store: Store) -> None:
        store.replace("live.json", b"one")
        store.replace("live.json", b"two")
        assert store.read("live.json") == b"two"
        assert store.versions() == ()

    def test_a_removed_version_is_gone(self, store: Store) -> None:
        put(store, "v1")
        put(store, "v2")
        store.remove("v1")
        store.remove("v1")
        assert store.versions() == ("v2",)
        with pytest.raises(FileNotFoundError):
            store.fetch("v1")
