"""Gathering rows into columns: one row per pair, limits that refuse, a fingerprint of the content."""

import random

import pytest

from cluster.kernel.errors import TRAINING_DATA_INVALID, FlowError
from serve_apps.contracts import InteractionRow, ModelPerson
from serve_apps.data import Limits, gather
from tests.serve_apps.builders import ListedData, event, two_tastes


async def test_a_pair_keeps_its_strongest_weight_and_newest_time() -> None:
    rows = [
        InteractionRow("u", "e", "attend", 1.0, 10),
        InteractionRow("u", "e", "view", 0.3, 30),
        InteractionRow("v", "e", "view", 0.3, 20),
    ]
    found = (await gather(ListedData(rows))).interactions
    assert found.weight.tolist() == pytest.approx([1.0, 0.3])
    assert found.at_ms.tolist() == [30, 20]


async def test_people_and_events_known_by_id_alone_are_added_and_indices_point_at_them() -> None:
    rows = [InteractionRow("z", "known", "view", 0.5, 1), InteractionRow("a", "unknown", "view", 0.5, 1)]
    data = ListedData(rows, [event("known"), event("untouched")], [ModelPerson(user_id="z", interests=("jazz",))])
    dataset = await gather(data)
    assert [one.event_id for one in dataset.events] == ["known", "unknown", "untouched"]
    assert [one.user_id for one in dataset.people] == ["a", "z"]
    pairs = {
        (dataset.people[person].user_id, dataset.events[of].event_id)
        for person, of in zip(dataset.interactions.person, dataset.interactions.event, strict=True)
    }
    assert pairs == {("z", "known"), ("a", "unknown")}


async def test_the_fingerprint_is_of_the_content_not_of_its_order() -> None:
    data = two_tastes()
    rows = [row async for page in data.interactions() for row in page]
    shuffled = random.Random(1).sample(rows, len(rows))
    changed = [*rows[:-1], InteractionRow(rows[-1].user_id, rows[-1].event_id, "view", 0.25, rows[-1].at_ms)]
    one, same, other = [(await gather(ListedData(each))).fingerprint for each in (rows, shuffled, changed)]
    assert one == same
    assert one != other


@pytest.mark.parametrize(
    ("limits", "what"),
    [(Limits(interactions=5), "interactions"), (Limits(events=5), "events"), (Limits(people=5), "people")],
)
async def test_more_than_the_limit_is_refused(limits: Limits, what: str) -> None:
    with pytest.raises(FlowError, match=f"More than 5 {what}"):
        await gather(two_tastes(), limits)


async def test_nothing_and_nonsense_are_refused() -> None:
    for rows in (
        [],
        [InteractionRow("u", "e", "view", 1.5, 1)],
        [InteractionRow("u", "e", "view", float("nan"), 1)],
    ):
        with pytest.raises(FlowError) as caught:
            await gather(ListedData(rows))
        assert caught.value.kind is TRAINING_DATA_INVALID
