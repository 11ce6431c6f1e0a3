"""The bounded queue."""

import asyncio
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.kernel.errors import OVERLOADED, FlowError
from cluster.kernel.queues import BoundedQueue, QueuePolicy


def a_queue(
    policy: QueuePolicy = QueuePolicy.REJECT, *, max_items: int = 3, max_bytes: int = 10
) -> BoundedQueue[bytes]:
    return BoundedQueue("test", max_items=max_items, max_bytes=max_bytes, size_of=len, policy=policy)


def test_first_in_first_out() -> None:
    queue = a_queue()
    for item in (b"a", b"b", b"c"):
        queue.put(item)
    assert [queue.get_nowait(), *queue.take(5)] == [b"a", b"b", b"c"]
    with pytest.raises(IndexError):
        queue.get_nowait()


@pytest.mark.parametrize("item", [b"d", b"0123456789"], ids=["too many", "too large"])
def test_a_full_queue_refuses_what_comes(item: bytes) -> None:
    queue = a_queue()
    for one in (b"a", b"b", b"c"):
        queue.put(one)
    with pytest.raises(FlowError) as caught:
        queue.put(item)
    assert caught.value.kind is OVERLOADED
    assert queue.take(9) == [b"a", b"b", b"c"]
    assert queue.statistics().rejected == 1


def test_or_it_drops_the_oldest() -> None:
    queue = a_queue(QueuePolicy.DROP_OLDEST)
    for item in (b"aaaa", b"bbbb", b"cccccccc"):
        queue.put(item)
    assert queue.take(9) == [b"cccccccc"]
    assert queue.statistics().dropped == 2


def test_what_can_never_fit_drops_nothing() -> None:
    queue = a_queue(QueuePolicy.DROP_OLDEST)
    queue.put(b"a")
    with pytest.raises(FlowError):
        queue.put(b"0123456789a")
    assert queue.take(9) == [b"a"]


@settings(deadline=None)
@given(st.sampled_from(QueuePolicy), st.lists(st.one_of(st.none(), st.binary(max_size=12)), max_size=60))
def test_it_never_holds_more_than_its_bounds_and_counts_everything(
    policy: QueuePolicy, steps: list[bytes | None]
) -> None:
    queue = a_queue(policy)
    taken: list[bytes] = []
    put = 0
    for step in steps:
        if step is None:
            taken += queue.take(1)
            continue
        put += 1
        with suppress(FlowError):
            queue.put(step)
        now = queue.statistics()
        assert len(queue) <= 3
        assert queue.size_bytes <= 10
        assert (now.items, now.bytes) == (len(queue), queue.size_bytes)
    end = queue.statistics()
    assert end.accepted + end.rejected == put
    assert end.accepted == len(taken) + end.dropped + end.items
    if policy is QueuePolicy.REJECT:
        assert end.dropped == 0


async def test_consumers_wait_and_each_item_goes_to_one() -> None:
    queue = a_queue(max_items=100, max_bytes=1_000)
    waiting = [asyncio.ensure_future(queue.get()) for _ in range(30)]
    for number in range(30):
        queue.put(str(number).encode())
        if number % 7 == 0:
            await asyncio.sleep(0)
    async with asyncio.timeout(5):
        got = await asyncio.gather(*waiting)
    assert sorted(got, key=int) == [str(number).encode() for number in range(30)]


async def test_a_consumer_that_gave_up_takes_nothing_with_it() -> None:
    queue = a_queue()
    waiting = asyncio.ensure_future(queue.get())
    await asyncio.sleep(0)
    waiting.cancel()
    queue.put(b"a")
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert queue.take(1) == [b"a"]


def test_a_bound_of_nothing_is_no_bound() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        a_queue(max_items=0)
