"""What a collection does, whichever way its commands take. A test module subclasses it and gives the fixture `rows`."""

from datetime import UTC, datetime

import pytest
from pymongo.errors import OperationFailure

from storage.client import BatchRefused, Collection, Duplicate, InsertOne, ReplaceOne


def numbered(*numbers: int) -> list[dict[str, object]]:
    return [{"_id": f"row{number}", "n": number} for number in numbers]


class CollectionContract:
    async def test_what_was_written_is_found(self, rows: Collection) -> None:
        when = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
        await rows.insert_one({"_id": "a", "when": when, "large": 2**40, "parts": [{"x": 1.5}, None, True]})
        found = await rows.find_one({"_id": "a"})
        assert found == {"_id": "a", "when": when, "large": 2**40, "parts": [{"x": 1.5}, None, True]}
        assert type(found["large"]) is int
        assert await rows.find_one({"_id": "b"}) is None

    async def test_find_filters_sorts_projects_and_ends_at_its_limit(self, rows: Collection) -> None:
        await rows.insert_many(numbered(*range(10)))
        even = {"n": {"$in": [0, 2, 4, 6, 8]}}
        found = await rows.find(even, limit=3, projection={"_id": 0, "n": 1}, sort=[("n", -1)])
        assert found == [{"n": 8}, {"n": 6}, {"n": 4}]
        assert await rows.find_one({}, {"n": 1}, sort=[("n", -1)]) == {"_id": "row9", "n": 9}
        assert await rows.find({"n": 99}, limit=5) == []

    async def test_an_aggregate_ends_at_its_limit(self, rows: Collection) -> None:
        await rows.insert_many(numbered(*range(10)))
        pipeline = [{"$sort": {"n": 1}}, {"$project": {"_id": 0}}]
        assert await rows.aggregate(pipeline, limit=2) == [{"n": 0}, {"n": 1}]
        assert len(await rows.aggregate(pipeline, limit=10)) == 10
        assert len(await rows.aggregate(pipeline, limit=400)) == 10

    async def test_large_replies_come_whole(self, rows: Collection) -> None:
        for start in range(0, 100, 20):
            await rows.insert_many([{"_id": start + n, "text": "ä" * 30_000} for n in range(20)])
        found = await rows.find({}, limit=200, sort=[("_id", 1)])
        assert [row["_id"] for row in found] == list(range(100))
        assert {len(row["text"]) for row in found} == {30_000}

    async def test_more_than_one_reply_can_hold_comes_whole(self, rows: Collection) -> None:
        for start in range(0, 40, 10):
            await rows.insert_many([{"_id": start + n, "text": "x" * 500_000} for n in range(10)])
        for found in (
            await rows.find({}, limit=40, sort=[("_id", 1)]),
            await rows.find({}, limit=400, sort=[("_id", 1)]),
            await rows.aggregate([{"$sort": {"_id": 1}}], limit=40),
        ):
            assert [row["_id"] for row in found] == list(range(40))

    async def test_a_duplicate_says_which_index(self, rows: Collection) -> None:
        await rows.create_index([("n", 1)], build_ms=10_000, name="by_n", unique=True)
        await rows.insert_one({"_id": "a", "n": 1})
        for taken, fields in (({"_id": "a", "n": 2}, ("_id",)), ({"_id": "b", "n": 1}, ("n",))):
            with pytest.raises(Duplicate) as caught:
                await rows.insert_one(taken)
            assert caught.value.fields == fields
        with pytest.raises(Duplicate):
            await rows.update_one({"_id": "c"}, {"$set": {"n": 1}}, upsert=True)

    async def test_an_ordered_batch_ends_at_what_was_refused(self, rows: Collection) -> None:
        await rows.insert_many(numbered(2))
        with pytest.raises(BatchRefused) as caught:
            await rows.insert_many(numbered(0, 1, 2, 3))
        assert (caught.value.index, caught.value.fields, caught.value.refused) == (2, ("_id",), 1)
        assert [row["n"] for row in await rows.find({}, limit=9, sort=[("n", 1)])] == [0, 1, 2]

    @pytest.mark.parametrize("is_bulk", [False, True])
    async def test_an_unordered_batch_does_all_that_can_be(self, rows: Collection, is_bulk: bool) -> None:
        await rows.insert_many(numbered(1, 3))
        new = numbered(0, 1, 2, 3, 4)
        inserts = [InsertOne(row) for row in new]
        work = rows.bulk_write(inserts, ordered=False) if is_bulk else rows.insert_many(new, ordered=False)
        with pytest.raises(BatchRefused) as caught:
            await work
        assert (caught.value.index, caught.value.refused) == (1, 2)
        assert len(await rows.find({}, limit=9)) == 5

    async def test_replacements_put_in_and_replace(self, rows: Collection) -> None:
        await rows.insert_many(numbered(1))
        replaced = ReplaceOne({"_id": "row1"}, {"_id": "row1", "n": 10}, upsert=True)
        put_in = ReplaceOne({"_id": "row2"}, {"_id": "row2", "n": 20}, upsert=True)
        nothing = ReplaceOne({"_id": "row3"}, {"n": 30})
        assert await rows.bulk_write([replaced, put_in, nothing]) == (1, 1, 1)
        assert [row["n"] for row in await rows.find({}, limit=9, sort=[("n", 1)])] == [10, 20]
        with pytest.raises(BatchRefused) as caught:
            await rows.bulk_write([ReplaceOne({"_id": "row1", "n": 11}, {"_id": "row1"}, upsert=True), put_in])
        assert (caught.value.index, caught.value.fields) == (0, ("_id",))

    async def test_updates_say_what_matched_and_what_changed(self, rows: Collection) -> None:
        await rows.insert_many(numbered(1, 2, 3))
        assert await rows.update_one({"n": {"$gte": 2}}, {"$set": {"seen": True}}) == 1
        assert await rows.update_many({}, {"$set": {"seen": True}}) == 2
        assert await rows.update_one({"_id": "none"}, {"$set": {"n": 0}}) == 0
        assert await rows.update_one({"_id": "new"}, {"$set": {"n": 0}}, upsert=True) == 0
        assert len(await rows.find({"seen": True}, limit=9)) == 3

    async def test_a_mistake_of_ours_comes_out_as_it_is(self, rows: Collection) -> None:
        await rows.insert_many(numbered(1))
        for work in (
            rows.find({"n": {"$nonsense": 1}}, limit=1),
            rows.aggregate([{"$nonsense": {}}], limit=1),
            rows.update_one({}, {"$nonsense": {}}),
            rows.insert_one({"_id": {"$bad": 1}}),
        ):
            with pytest.raises(OperationFailure):
                await work
        with pytest.raises(Exception, match="cannot encode"):
            await rows.insert_one({"_id": object()})
        assert len(await rows.find({}, limit=9)) == 1
