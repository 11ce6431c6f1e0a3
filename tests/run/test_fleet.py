"""The fleet and its changes, over processes that hang, die and race for names."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from cluster.kernel.errors import CHANGE_UNDER_WAY, FlowError
from cluster.placement.view import View
from cluster.run.scaling import Scaling
from tests.run.fleet_world import SUPERVISION, FleetWorld

Make = Callable[..., Awaitable[FleetWorld]]


@pytest.fixture
async def world() -> AsyncIterator[Make]:
    made: list[FleetWorld] = []

    async def make(**sizes: Any) -> FleetWorld:
        made.append(FleetWorld(**sizes))
        return await made[-1].start()

    yield make
    for one in made:
        await one.close()


async def view_of(world: FleetWorld) -> View:
    return await world.store.load() or View()


async def test_a_standby_takes_a_dead_hosts_name_and_a_new_spare_is_made_when_it_is_calm(world: Make) -> None:
    one = await world(calm_s=0.2)
    before, made = one.holder("host-0"), one.runtime.made
    died = asyncio.get_running_loop().time()
    one.runtime.die(before.name)
    await one.until(lambda: one.fleet.members["host-0"].lives == 2)
    assert one.holder("host-0") is not before
    await one.until(lambda: one.runtime.made > made)
    assert asyncio.get_running_loop().time() - died >= 0.2
    await one.until_whole()
    assert one.runtime.made == made + 1


async def test_a_name_that_nobody_can_take_is_not_kept_waiting_for_calm(world: Make) -> None:
    one = await world(hosts=3, calm_s=60.0)
    made = one.runtime.made
    for name in ("host-0", "host-1"):
        one.runtime.die(one.holder(name).name)
    await one.until(lambda: all(one.fleet.members[name].lives == 2 for name in ("host-0", "host-1")))
    assert one.runtime.made == made + 1


async def test_a_process_that_ends_before_it_is_up_is_replaced_after_a_while(world: Make) -> None:
    one = await world(hosts=1, standbys=0)
    made, died = one.runtime.made, asyncio.get_running_loop().time()
    one.runtime.is_stillborn = True
    one.runtime.die(one.holder("host-0").name)
    await one.until(lambda: one.runtime.made == made + 3)
    assert asyncio.get_running_loop().time() - died >= 2 * SUPERVISION.restart_timeout_s
    one.runtime.is_stillborn = False
    await one.until_whole()


async def test_in_a_joined_ray_a_dead_host_comes_back_and_stands_by(world: Make) -> None:
    one = await world(is_local=False)
    before = one.holder("host-0")
    one.runtime.restarts = False
    one.runtime.die(before.name)
    await one.until(lambda: one.fleet.members["host-0"].lives == 2)
    await before.start()
    await one.until_whole()
    assert before.holds is None
    assert one.holder("host-0") is not before
    assert one.fleet.members["host-0"].lives == 2


async def test_in_a_joined_ray_without_a_standby_ray_brings_the_name_back(world: Make) -> None:
    one = await world(hosts=1, standbys=0, is_local=False)
    before = one.holder("host-0")
    life = before.incarnation
    one.runtime.die(before.name)
    await one.until_whole()
    await one.until(lambda: one.fleet.members["host-0"].incarnation != life)
    await one.until_whole()
    assert one.holder("host-0") is before
    assert len(one.runtime.processes) == 2


@pytest.mark.parametrize("is_local", [True, False])
async def test_a_process_that_hangs_is_ended_and_replaced(world: Make, is_local: bool) -> None:
    one = await world(is_local=is_local)
    hung = one.holder("host-1")
    life = hung.incarnation
    hung.is_hung = True
    await one.until(lambda: hung.is_dead or hung.incarnation != life)
    await one.until_whole()
    assert (hung.name in one.runtime.processes) is not is_local


@pytest.mark.parametrize("is_local", [True, False])
@pytest.mark.parametrize("seed", range(5))
async def test_whatever_dies_each_name_ends_with_one_holder(world: Make, seed: int, is_local: bool) -> None:
    one = await world(hosts=3, edges=2, is_local=is_local)
    chance = random.Random(seed)
    for _ in range(15):
        victim = chance.choice(sorted(one.runtime.processes))
        process = one.runtime.processes[victim]
        if chance.random() < 0.3 and process.calls:  # what hangs before it was heard has all the time of a start
            process.is_hung = True
        else:
            one.runtime.die(victim)
        if chance.random() < 0.5:
            await one.fleet.next_look()
    await one.until_whole()
    members = (await view_of(one)).members
    assert {m.name for m in members} == {"host-0", "host-1", "host-2", "edge-0", "edge-1"}
    assert {m.name: m.process for m in members} == {m.name: one.holder(m.name).name for m in members}


async def test_scaling_adds_one_by_one_and_drains_through_the_view(world: Make) -> None:
    one = await world(hosts=1)
    scaling = Scaling(one.fleet, SUPERVISION)
    told: list[str] = []
    grown = await scaling.scale(3, 2, told.append)
    assert grown == {"hosts": 3, "edges": 2, "added": ["host-1", "host-2", "edge-1"], "drained": []}
    assert told == ["host-1 is joining", "host-2 is joining", "edge-1 is joining"]
    await one.until_whole()
    going = one.holder("host-1")
    shrunk = await scaling.drain("host-1", told.append)
    assert (shrunk["hosts"], shrunk["drained"]) == (2, ["host-1"])
    assert going.calls[-2:] == ["drain", "stop"]
    assert going.name not in one.runtime.processes
    assert (await view_of(one)).member("host-1") is None
    assert (await scaling.scale(1, None, told.append))["drained"] == ["host-2"]
    await one.until_whole()
    assert one.fleet.names() == ["host-0", "edge-0", "edge-1"]


async def test_a_host_that_dies_while_it_drains_is_gone_all_the_same(world: Make) -> None:
    one = await world()
    going = one.holder("host-1")
    going.is_hung = True
    await Scaling(one.fleet, SUPERVISION).drain("host-1", lambda text: None)
    await one.until_whole()
    assert (await view_of(one)).member("host-1") is None
    assert one.fleet.names("host") == ["host-0"]


async def test_a_host_that_is_drained_while_a_spare_takes_its_name_does_not_come_back(world: Make) -> None:
    one = await world(hosts=3)
    [spare] = [
        process for process in one.runtime.processes.values() if process.holds is None and process.kind == "host"
    ]
    spare.may_take.clear()
    one.runtime.die(one.holder("host-1").name)
    await one.until_asked(spare, "take")
    drained = asyncio.ensure_future(Scaling(one.fleet, SUPERVISION).drain("host-1", lambda text: None))
    done, _ = await asyncio.wait({drained}, timeout=0.2)
    assert not done, "while somebody takes the name nobody can say that it is gone"
    spare.may_take.set()
    await drained
    assert spare.calls[-2:] == ["drain", "stop"]
    await one.until_whole()
    assert (await view_of(one)).member("host-1") is None
    assert one.fleet.names("host") == ["host-0", "host-2"]


async def test_one_change_at_a_time(world: Make) -> None:
    one = await world(hosts=1)
    scaling = Scaling(one.fleet, SUPERVISION)
    first = asyncio.ensure_future(scaling.scale(2, None, lambda text: None))
    await asyncio.sleep(0)
    with pytest.raises(FlowError, match="flow scale hosts=2") as caught:
        await scaling.scale(3, None, lambda text: None)
    assert caught.value.kind is CHANGE_UNDER_WAY
    assert (await first)["hosts"] == 2


async def test_new_members_go_to_the_node_that_has_fewest(world: Make) -> None:
    one = await world(hosts=1)
    one.runtime.node_ids = ["node-1", "node-2"]
    await Scaling(one.fleet, SUPERVISION).scale(4, 2, lambda text: None)
    nodes = [one.holder(name).node for name in one.fleet.names("host")]
    assert sorted(nodes) == ["node-1", "node-1", "node-2", "node-2"]
    assert {one.holder(name).node for name in one.fleet.names("edge")} == {"node-1", "node-2"}
    await one.until_whole()
