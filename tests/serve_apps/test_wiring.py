"""Where a recommender reads its catalogue: a file, the MongoDB of the environment, or a refusal telling what to set."""

from pathlib import Path

import pytest

from cluster.kernel.errors import SETTINGS_INVALID, UNAVAILABLE, FlowError
from serve_apps.contracts import LiveEvents
from serve_apps.wiring import DATABASE_VARIABLE, URI_VARIABLE, open_catalogue
from storage.settings import StorageSettings
from tests.serve_apps.builders import event, write_catalogue


async def test_a_file_gives_what_is_not_over_soonest_end_first(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.jsonl"
    write_catalogue(path, [event("late", end_ms=30), event("over", end_ms=10), event("soon", end_ms=20)])
    catalogue = await open_catalogue(path)
    soon, late = event("soon", end_ms=20), event("late", end_ms=30)
    assert await catalogue.live_events(10, 2) == LiveEvents((soon, late))
    assert await catalogue.live_events(10, 1) == LiveEvents((soon,), left_out=1)
    path.write_text('{"event_id": 3}')
    with pytest.raises(FlowError) as caught:
        await catalogue.live_events(10, 2)
    assert caught.value.kind is UNAVAILABLE


async def test_without_file_and_environment_it_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(URI_VARIABLE, raising=False)
    with pytest.raises(FlowError, match=URI_VARIABLE) as caught:
        await open_catalogue(None)
    assert caught.value.kind is SETTINGS_INVALID


@pytest.mark.storage
async def test_the_environment_names_the_database(
    storage_settings: StorageSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(URI_VARIABLE, storage_settings.uri)
    monkeypatch.setenv(DATABASE_VARIABLE, storage_settings.database)
    catalogue = await open_catalogue(None)
    assert await catalogue.live_events(0, 1) == LiveEvents(())
    await catalogue.close()
