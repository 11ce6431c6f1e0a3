"""What the fleet decides, by property: names are held once, standbys are used first, spares wait for calm, and it comes
to rest."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.kernel.errors import CHANGE_REFUSED, INVALID_REQUEST, UNKNOWN_MEMBER, FlowError
from cluster.run.fleet_plan import (
    Fill,
    Kind,
    KnownProcess,
    Make,
    Retire,
    WantedMember,
    check_counts,
    check_drain,
    next_steps,
    to_scale,
)


class World:
    """Processes that do what they are told at once, or die. Those that `return` are started again."""

    def __init__(self, members: int, standbys: int, *, returns: bool = True) -> None:
        self.returns = returns
        self.is_calm = True
        self.holder: dict[str, str | None] = {f"host-{n}": None for n in range(members)}
        self.leaving: set[str] = set()
        self.up: dict[str, bool] = {}
        self.standbys: dict[Kind, int] = {"host": standbys, "edge": 0}
        self.made = 0

    def step(self) -> int:
        members = [WantedMember(name, "host", held, name in self.leaving) for name, held in self.holder.items()]
        held = set(self.holder.values())
        processes = [
            KnownProcess(name, "host", is_coming=not up, is_standby=up and name not in held)
            for name, up in self.up.items()
        ]
        steps = next_steps(members, processes, self.standbys, is_calm=self.is_calm)
        for step in steps:
            match step:
                case Fill(member, process):
                    assert self.holder[member] is None
                    assert self.up[process]
                    assert process not in self.holder.values(), "one name a process"
                    self.holder[member] = process
                case Make():
                    self.made += 1
                    self.up[f"p-{self.made}"] = False
                case Retire(process):
                    assert process not in self.holder.values()
                    del self.up[process]
        return len(steps)

    def die(self, process: str) -> None:
        if self.returns or not self.up[process]:  # whose start failed is not given up at once
            self.up[process] = False
        else:
            del self.up[process]
        self.holder = {name: None if held == process else held for name, held in self.holder.items()}

    def settle(self) -> None:
        for _ in range(20):
            if not self.step() and all(self.up.values()):
                return
            self.up = dict.fromkeys(self.up, True)
        raise AssertionError("it never comes to rest")


@given(
    st.integers(1, 5),
    st.integers(0, 3),
    st.booleans(),
    st.lists(
        st.tuples(st.sampled_from(["die", "add", "leave", "gone", "look", "calm"]), st.integers(0, 9)), max_size=30
    ),
)
def test_whatever_dies_every_name_is_held_once_and_nothing_is_left_over(
    members: int, standbys: int, returns: bool, blows: list[tuple[str, int]]
) -> None:
    world = World(members, standbys, returns=returns)
    world.settle()
    for blow, which in blows:
        names = [name for name in world.holder if name not in world.leaving]
        match blow:
            case "calm":
                world.is_calm = which % 2 == 0
            case "die" if world.up:
                world.die(sorted(world.up)[which % len(world.up)])
            case "add":
                world.holder[f"host-{100 + len(world.holder) + which * 100}"] = None
            case "leave" if len(names) > 1:
                world.leaving.add(names[which % len(names)])
            case "gone" if world.leaving:
                name = min(world.leaving)
                world.leaving.discard(name)
                process = world.holder.pop(name)
                if process is not None:
                    del world.up[process]
            case _:
                world.step()
    for world.is_calm in (False, True):
        world.settle()
        held = [process for name, process in world.holder.items() if name not in world.leaving]
        assert None not in held
        assert len(set(held)) == len(held)
    spare = set(world.up) - set(world.holder.values())
    assert len(spare) == standbys


def test_a_standby_takes_the_name_before_anything_is_made() -> None:
    members = [WantedMember("host-0", "host"), WantedMember("host-1", "host", "p-2")]
    processes = [
        KnownProcess("p-1", "host", is_coming=True, is_standby=False),
        KnownProcess("p-2", "host", is_coming=False, is_standby=False),
        KnownProcess("p-3", "host", is_coming=False, is_standby=True),
    ]
    assert next_steps(members, processes, {"host": 1, "edge": 0}) == [Fill("host-0", "p-3")]


@given(
    holders=st.lists(st.sampled_from(["nobody", "leaving", "held"]), max_size=6),
    ready=st.integers(0, 4),
    coming=st.integers(0, 4),
    standbys=st.integers(0, 3),
)
def test_unrest_delays_spares_and_nothing_else(holders: list[str], ready: int, coming: int, standbys: int) -> None:
    members = [
        WantedMember(f"host-{n}", "host", f"holder-{n}" if state == "held" else None, state == "leaving")
        for n, state in enumerate(holders)
    ]
    processes = [KnownProcess(f"ready-{n}", "host", is_coming=False, is_standby=True) for n in range(ready)]
    processes += [KnownProcess(f"coming-{n}", "host", is_coming=True, is_standby=False) for n in range(coming)]
    wanted: dict[Kind, int] = {"host": standbys, "edge": 0}
    calm, unrest = (next_steps(members, processes, wanted, is_calm=is_calm) for is_calm in (True, False))
    made = [step for step in unrest if isinstance(step, Make)]
    assert len(made) == max(0, holders.count("nobody") - ready - coming), (
        "a name that nobody can take is not kept waiting"
    )
    assert [step for step in unrest if step not in made] == [step for step in calm if not isinstance(step, Make)]
    assert len(unrest) <= len(calm)


@given(st.sets(st.integers(0, 20), min_size=1, max_size=10), st.integers(1, 64))
def test_scaling_reaches_the_count_with_the_lowest_names(numbers: set[int], count: int) -> None:
    names = [f"host-{number}" for number in numbers]
    added, drained = to_scale(names, "host", count)
    after = (set(names) | set(added)) - set(drained)
    assert len(after) == count
    assert not (added and drained)
    assert not set(added) & set(names)
    if drained:
        assert max(int(name[5:]) for name in after) < min(int(name[5:]) for name in drained)


@pytest.mark.parametrize(("hosts", "edges"), [(None, None), (0, None), (65, 1), (1, -1), (1, 1000)])
def test_counts_that_cannot_be_meant(hosts: int | None, edges: int | None) -> None:
    with pytest.raises(FlowError) as caught:
        check_counts(hosts, edges)
    assert caught.value.kind is INVALID_REQUEST


def test_the_last_of_a_kind_stays_and_a_stranger_is_said_to_be_one() -> None:
    names = ["host-0", "edge-0", "edge-4"]
    assert check_drain(names, "edge-4") == "edge"
    with pytest.raises(FlowError) as last:
        check_drain(names, "host-0")
    assert last.value.kind is CHANGE_REFUSED
    with pytest.raises(FlowError) as unknown:
        check_drain(names, "host-7")
    assert unknown.value.kind is UNKNOWN_MEMBER
