"""The replica without Serve around it: a reply to every request, errors being replies too."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from pydantic import ValidationError

from cluster.kernel.errors import (
    DEADLINE_EXCEEDED,
    EXPERIMENT_INVALID,
    INVALID_REQUEST,
    UNAVAILABLE,
    ErrorKind,
    FlowError,
)
from serve_apps.contracts import MatchPerson, MatchRequest, RecommendationReply, RecommendationRequest, SimilarRequest
from serve_apps.recommender import MAX_BATCH, MAX_REQUEST_BYTES, BuildArguments, Replica, build
from tests.serve_apps.builders import event, write_catalogue


@pytest.fixture
async def replica(tmp_path: Path) -> AsyncIterator[Replica]:
    write_catalogue(tmp_path / "catalogue.jsonl", [event("a")])
    arguments = BuildArguments(models_dir=tmp_path / "models", catalogue_file=tmp_path / "catalogue.jsonl")
    made = Replica(arguments.model_dump(mode="json"))
    yield made
    await made.stop()


async def refusals(replica: Replica, *requests: bytes) -> list[dict[str, object]]:
    errors = []
    for content in await replica.recommend(list(requests)):
        reply = msgspec.msgpack.decode(content, type=RecommendationReply)
        assert reply.answer is None
        assert reply.error is not None
        errors.append(reply.error)
    return errors


def encoded(**changes: object) -> bytes:
    return msgspec.msgpack.encode({"user_id": "u", "limit": 3} | changes)


async def test_every_request_has_a_typed_reply_in_its_place(replica: Replica) -> None:
    expected: dict[bytes, ErrorKind] = {
        b"": INVALID_REQUEST,
        encoded(): UNAVAILABLE,
        b"\xc1": INVALID_REQUEST,
        msgspec.msgpack.encode({"user_id": "u"}): INVALID_REQUEST,
        encoded(limit="many"): INVALID_REQUEST,
        encoded(interests=["x" * MAX_REQUEST_BYTES]): INVALID_REQUEST,
        encoded(deadline_ms=0): DEADLINE_EXCEEDED,
        encoded(limit=7): UNAVAILABLE,
    }
    errors = await refusals(replica, *expected)
    assert [error["code"] for error in errors] == [kind.code for kind in expected.values()]


async def test_a_replica_without_a_model_is_well(replica: Replica) -> None:
    await replica.check_health()
    status = await replica.status()
    assert (status["live"], status["modelVersion"]) == (False, None)


async def test_what_the_user_configuration_leaves_out_stays_as_the_arguments_say(tmp_path: Path) -> None:
    arguments = BuildArguments(models_dir=tmp_path, pointer_seconds=7, catalogue_file=tmp_path / "none")
    replica = Replica(arguments.model_dump(mode="json"))
    await replica.reconfigure({"catalogue_seconds": 9})
    assert (replica._periods.pointer, replica._periods.catalogue) == (7, 9)
    with pytest.raises(ValidationError):
        await replica.reconfigure({"catalog_seconds": 9})
    await replica.stop()


def test_the_application_is_built_from_checked_arguments(tmp_path: Path) -> None:
    assert build(BuildArguments(models_dir=tmp_path)) is not None
    with pytest.raises(ValidationError):
        BuildArguments.model_validate({"models_dir": str(tmp_path), "modelsdir": "x"})


async def test_requests_survive_the_encoding() -> None:
    request = RecommendationRequest(
        user_id="u", limit=3, interests=("a",), coordinates=(1.0, 2.0), exclude_event_ids=("e",), deadline_ms=10
    )
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(request), type=RecommendationRequest) == request


async def test_recommendations_likes_and_matches_in_their_order(replica: Replica) -> None:
    await replica.reconfigure({})
    async with asyncio.timeout(30):
        while replica._engine.statistics()["liveEvents"] == 0:  # noqa: ASYNC110 - until the catalogue was read
            await asyncio.sleep(0)
    asked = [encoded(interests=["jazz"], limit=limit, deadline_ms=60_000) for limit in (3, 0, 5)]
    first, wrong, last = [
        msgspec.msgpack.decode(one, type=RecommendationReply) for one in await replica.recommend(asked)
    ]
    assert wrong.error is not None
    assert wrong.error["code"] == "invalid_request"
    for reply in (first, last):
        assert reply.answer is not None
        assert [one.event_id for one in reply.answer.events] == ["a"]
        assert reply.answer.fallback
    similar = [msgspec.msgpack.encode(SimilarRequest(event_id=name, limit=3)) for name in ("a", "unknown")]
    alike, unknown = [msgspec.msgpack.decode(one, type=RecommendationReply) for one in await replica.similar(similar)]
    assert alike.answer is not None
    assert alike.answer.events == ()
    assert unknown.error is not None
    assert unknown.error["code"] == "event_not_found"
    people = MatchRequest(
        person=MatchPerson(user_id="u"), others=(MatchPerson(user_id="v", mutual_friends=5),), limit=3
    )
    [matched] = [
        msgspec.msgpack.decode(one, type=RecommendationReply)
        for one in await replica.match([msgspec.msgpack.encode(people)])
    ]
    assert matched.matches is not None
    assert [(one.user_id, one.score) for one in matched.matches.matches] == [("v", 0.05)]


async def test_more_than_a_batch_is_refused(replica: Replica) -> None:
    errors = await refusals(replica, *[encoded()] * (MAX_BATCH + 1))
    assert {error["code"] for error in errors} == {"invalid_request"}
    assert len(errors) == MAX_BATCH + 1


async def test_experiments_that_cannot_run_are_refused_and_the_ones_before_stay(replica: Replica) -> None:
    good = {
        "key": "e",
        "variations": [{"key": "a", "weight": 0.5}, {"key": "b", "weight": 0.5}],
        "primary": {"key": "clicks", "numerator": "click"},
    }
    await replica.reconfigure({"experiments": [good]})
    bad = {**good, "variations": [{"key": "a", "weight": 0.5}, {"key": "b", "weight": 0.6}]}
    with pytest.raises(FlowError) as refused:
        await replica.reconfigure({"experiments": [bad]})
    assert refused.value.kind is EXPERIMENT_INVALID
    assert (await replica.status())["experiments"] == ["e"]
