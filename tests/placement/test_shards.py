"""Shards are for life: these numbers may never change."""

from collections import Counter

import pytest

from cluster.kernel.ids import Key, KeyKind, chat_key, event_key, new_id, topic_key, user_key
from cluster.placement.shards import SHARD_COUNT, shard_of

GOLDEN = {
    chat_key("0123456789abcdef01234567"): 704,
    chat_key("event:0123456789abcdef01234567"): 916,
    chat_key("dm:0123456789abcdef01234567:89abcdef0123456789abcdef"): 514,
    event_key("0123456789abcdef01234567"): 552,
    user_key("0123456789abcdef01234567"): 315,
    topic_key("location:u33d"): 18,
    topic_key("interest:künstliche intelligenz"): 340,
}


@pytest.mark.parametrize("key", GOLDEN, ids=str)
def test_each_key_has_its_shard_for_life(key: Key) -> None:
    assert shard_of(key) == GOLDEN[key]


def test_there_are_1024_shards() -> None:
    assert SHARD_COUNT == 1024


def test_keys_spread_evenly() -> None:
    counts = Counter(shard_of(Key(KeyKind.CHAT, new_id())) for _ in range(102_400))
    assert len(counts) == SHARD_COUNT
    assert min(counts.values()) > 40
    assert max(counts.values()) < 180
