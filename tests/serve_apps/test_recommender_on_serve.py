"""The application on a real Ray Serve: found late, swapped live, never refusing while it swaps."""

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.kernel.errors import UNAVAILABLE, FlowError
from serve_apps.client import ServeRecommender
from serve_apps.contracts import RECOMMENDER_APPLICATION, RecommendationAnswer, RecommendationRequest
from serve_apps.recommender import BuildArguments, build
from serve_apps.registry import ModelRegistry
from tests.serve_apps.builders import event, events_of_two_tastes, two_tastes, write_catalogue

pytestmark = [pytest.mark.cluster, pytest.mark.model, pytest.mark.timeout(300)]

RAY_ENVIRONMENT = {
    "RAY_worker_niceness": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_enable_metrics_collection": "0",
    "RAY_prestart_worker_first_driver": "0",
}
PATIENCE_SECONDS = 60


@pytest.fixture
def ray_cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    import ray
    from ray import serve

    for name, value in RAY_ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    directory = tempfile.mkdtemp(prefix="flow-ray-")  # short: Ray puts sockets beneath it
    ray.init(
        address="local",
        include_dashboard=False,
        num_cpus=4,
        object_store_memory=80_000_000,
        log_to_driver=False,
        _temp_dir=directory,
    )
    yield
    serve.shutdown()
    ray.shutdown()
    shutil.rmtree(directory, ignore_errors=True)


def request(**changes: object) -> RecommendationRequest:
    settings: dict[str, object] = {"user_id": "user-0", "limit": 5, "deadline_ms": 2_000} | changes
    return RecommendationRequest(**settings)  # type: ignore[arg-type]


async def answer_from(client: ServeRecommender, version: str, **changes: object) -> RecommendationAnswer:
    """The first answer of that version; every refusal until then must be a typed one."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                answer = await client.recommend(request(**changes))
            except FlowError as error:
                assert error.kind.retryable, error  # noqa: PT017
                await asyncio.sleep(0.05)
                continue
            if answer.model_version == version:
                return answer


async def status_when(client: ServeRecommender, is_so: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The first status of which it is so; another process has to make it so, hence the looking again."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            status = await client.status()
            if is_so(status):
                return status
            await asyncio.sleep(0.05)


async def test_a_promoted_version_takes_over_without_a_refusal(ray_cluster: None, tmp_path: Path) -> None:
    from ray import serve

    from serve_apps.training.job import publish, train
    from serve_apps.training.settings import TrainingSettings, TwoTowerSettings

    trained = await train(
        two_tastes(), TrainingSettings(models=("two_tower",), two_tower=TwoTowerSettings(max_epochs=4, batch_size=128))
    )
    registry = ModelRegistry(tmp_path / "models")
    first, second = publish(trained, registry).version, publish(trained, registry).version
    catalogue = tmp_path / "catalogue.jsonl"
    write_catalogue(catalogue, events_of_two_tastes(40))

    client = ServeRecommender()
    with pytest.raises(FlowError) as away:
        await client.recommend(request())
    assert away.value.kind is UNAVAILABLE
    assert not (await client.status())["live"]

    arguments = BuildArguments(
        models_dir=tmp_path / "models", catalogue_file=catalogue, pointer_seconds=0.1, catalogue_seconds=0.1
    )
    await asyncio.to_thread(lambda: serve.run(build(arguments), name=RECOMMENDER_APPLICATION, route_prefix=None))
    status = await status_when(client, lambda status: "problem" not in status)
    assert not status["live"]

    registry.promote(first)
    answer = await answer_from(client, first)
    assert len(answer.events) == 5

    # Every request from here to the takeover is answered, by one version or the other.
    registry.promote(second)
    versions = []
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not versions or versions[-1] != second:
            versions.append((await client.recommend(request())).model_version)
    assert set(versions) <= {first, second}
    assert (await client.status())["modelVersion"] == second

    # A damaged version cannot be promoted; a pointer that names one all the same changes nothing.
    broken = tmp_path / "models" / "two_tower" / "broken"
    shutil.copytree(broken.parent / second, broken)
    (broken / "candidates.npy").write_bytes(b"short")
    (broken.parent / "live.json").write_text('{"version": "broken"}')
    await status_when(client, lambda status: "broken" in status.get("refused", {}))
    assert (await client.recommend(request())).model_version == second

    # An event published now is recommended to whom it suits, though the model has never seen it.
    write_catalogue(catalogue, [*events_of_two_tastes(40), event("brand-new", "jazz")])
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            answer = await client.recommend(request(user_id="nobody", interests=("jazz",), limit=21))
            if "brand-new" in {scored.event_id for scored in answer.events}:
                break
