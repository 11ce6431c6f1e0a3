"""Claims and appends of three owners of a room in any order, with answers that are lost, keep the fence's promise."""

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.storage.contract_chat_fence import Owner, Told
from tests.support.memory_chat_log import MemoryChatLog

_OWNERS = 3
_OWNER = st.integers(0, _OWNERS - 1)
_STEPS = st.one_of(
    st.tuples(st.just("claim"), _OWNER, st.just(0)),
    st.tuples(st.just("append"), _OWNER, st.integers(1, 3)),
    st.tuples(st.sampled_from(("before", "after")), _OWNER, st.just(0)),
)


@given(st.lists(_STEPS, max_size=40))
@settings(max_examples=300, deadline=None)
def test_in_any_order(steps: list[tuple[str, int, int]]) -> None:
    async def play() -> None:
        log, told = MemoryChatLog(), Told()
        owners = [Owner(log, told) for _ in range(_OWNERS)]
        for step, owner, count in steps:
            if step == "claim":
                await owners[owner].claim()
            elif step == "append":
                await owners[owner].append(count)
            else:
                log.faults.next.append(step)  # type: ignore[arg-type]
        await told.check(log)

    asyncio.run(play())
