"""The view: who owns which shard, and what a change of members moves."""

import hashlib
import subprocess
import sys

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.kernel.ids import chat_key
from cluster.placement.shards import SHARD_COUNT, shard_of
from cluster.placement.view import Member, View, draining, joined, left, replaced

names = st.sets(st.from_regex(r"[a-z0-9-]{1,12}", fullmatch=True), min_size=1, max_size=8)


def a_host(name: str, incarnation: str = "a") -> Member:
    return Member(name, "host", incarnation, "127.0.0.1:7000", "node-0")


def a_view(hosts: set[str]) -> View:
    view = View()
    for name in hosts:
        view = joined(view, a_host(name))
    return view


def owners(view: View) -> list[str | None]:
    hosts = (view.host_of(shard) for shard in range(SHARD_COUNT))
    return [host.name if host is not None else None for host in hosts]


def fingerprint(view: View) -> str:
    return hashlib.sha256(" ".join(str(owner) for owner in owners(view)).encode()).hexdigest()


def test_the_owners_of_three_hosts_are_fixed_for_life() -> None:
    view = a_view({"host-0", "host-1", "host-2"})
    assert [len(view.shards_of(f"host-{n}")) for n in range(3)] == [331, 317, 376]
    assert "".join(str(owner)[-1] for owner in owners(view)[:8]) == "22210001"
    assert fingerprint(view) == "e7df75c29c726aa1bc12d763c5336e42bcfa302b7d3ed45600e4bd8e68d80713"


def test_every_process_agrees() -> None:
    script = (
        "from tests.placement.test_view import a_view, fingerprint\n"
        "print(fingerprint(a_view({'host-0', 'host-1', 'host-2'})))"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", script], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert seen == {fingerprint(a_view({"host-2", "host-1", "host-0"}))}


@settings(deadline=None)
@given(names)
def test_each_shard_has_one_live_owner_and_the_lists_agree(hosts: set[str]) -> None:
    view = a_view(hosts)
    assert sorted(shard for name in hosts for shard in view.shards_of(name)) == list(range(SHARD_COUNT))


@pytest.mark.parametrize("count", [2, 3, 5, 8, 16])
def test_shards_are_balanced(count: int) -> None:
    view = a_view({f"host-{number}" for number in range(count)})
    mean = SHARD_COUNT / count
    spread = (mean * (1 - 1 / count)) ** 0.5
    for member in view.live_hosts:
        assert abs(len(view.shards_of(member.name)) - mean) < 4 * spread


@settings(max_examples=50, deadline=None)
@given(names, st.from_regex(r"[a-z0-9-]{1,12}", fullmatch=True))
def test_a_host_that_comes_moves_only_what_it_gains(hosts: set[str], newcomer: str) -> None:
    before = a_view(hosts - {newcomer})
    after = joined(before, a_host(newcomer))
    for old, new in zip(owners(before), owners(after), strict=True):
        assert new in (old, newcomer)


@settings(max_examples=50, deadline=None)
@given(names, st.data())
def test_a_host_that_goes_moves_only_what_it_had(hosts: set[str], data: st.DataObject) -> None:
    leaver = data.draw(st.sampled_from(sorted(hosts)))
    before = a_view(hosts)
    for after in (left(before, leaver), draining(before, leaver)):
        for old, new in zip(owners(before), owners(after), strict=True):
            assert new == old if old != leaver else new != leaver


@settings(max_examples=50, deadline=None)
@given(names, st.data())
def test_a_restart_moves_nothing(hosts: set[str], data: st.DataObject) -> None:
    restarted = data.draw(st.sampled_from(sorted(hosts)))
    before = a_view(hosts)
    elsewhere = Member(restarted, "host", "b", "10.0.0.9:1", "node-9")
    after = replaced(before, elsewhere)
    assert owners(after) == owners(before)
    assert after.member(restarted) == elsewhere


@settings(deadline=None)
@given(names)
def test_the_order_of_arrival_does_not_matter(hosts: set[str]) -> None:
    views = [a_view(set()), a_view(set())]
    for name in sorted(hosts):
        views[0] = joined(views[0], a_host(name))
    for name in sorted(hosts, reverse=True):
        views[1] = joined(views[1], a_host(name))
    assert views[0] == views[1]


def test_edges_and_draining_hosts_own_nothing() -> None:
    view = joined(a_view({"host-0", "host-1"}), Member("edge-0", "edge", "a", "127.0.0.1:1", "node-0"))
    view = draining(view, "host-0")
    assert set(owners(view)) == {"host-1"}
    assert view.shards_of("edge-0") == view.shards_of("host-0") == ()
    assert [member.name for member in view.of_kind("host")] == ["host-0", "host-1"]
    assert [member.name for member in view.live_hosts] == ["host-1"]


def test_without_a_live_host_nobody_owns_anything() -> None:
    for view in (View(), draining(a_view({"host-0"}), "host-0")):
        assert view.host_of(5) is None
        assert view.host_for(chat_key("x")) is None


def test_a_keys_host_is_its_shards_host() -> None:
    view = a_view({"host-0", "host-1", "host-2"})
    key = chat_key("event:0123456789abcdef01234567")
    assert view.host_for(key) == view.host_of(shard_of(key))


@pytest.mark.parametrize("shard", [-1, SHARD_COUNT])
def test_there_is_no_other_shard(shard: int) -> None:
    with pytest.raises(IndexError):
        a_view({"host-0"}).host_of(shard)


def test_each_change_is_the_next_version_and_leaves_the_old_view_alone() -> None:
    first = joined(View(), a_host("host-0"))
    second = draining(first, "host-0")
    third = replaced(second, a_host("host-0", "b"))
    fourth = left(third, "host-0")
    assert [view.version for view in (first, second, third, fourth)] == [1, 2, 3, 4]
    assert first.member("host-0") == a_host("host-0")
    assert fourth.members == ()


def test_changes_that_make_no_sense_are_refused() -> None:
    view = a_view({"host-0"})
    with pytest.raises(ValueError, match="member already"):
        joined(view, a_host("host-0"))
    for change in (left, draining):
        with pytest.raises(ValueError, match="not a member"):
            change(view, "host-1")
    with pytest.raises(ValueError, match="not a member"):
        replaced(view, a_host("host-1"))


def test_a_view_travels() -> None:
    view = a_view({"host-0", "host-1"})
    assert view.host_of(0) is not None
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(view), type=View) == view
    assert msgspec.convert(msgspec.to_builtins(view), View) == view


def test_a_view_that_names_a_member_twice_is_no_view() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"version": 1, "members": [msgspec.to_builtins(a_host("a"))] * 2}, View)


def test_an_address_is_taken_apart() -> None:
    def endpoint(address: str) -> tuple[str, int]:
        return msgspec.structs.replace(a_host("host-0"), address=address).endpoint

    assert endpoint("10.0.0.1:7000") == ("10.0.0.1", 7000)
    assert endpoint("[::1]:7000") == ("::1", 7000)
    for nonsense in ("nonsense", ":7000", "host:", "host:port"):
        with pytest.raises(ValueError, match=r"host:port|invalid literal"):
            endpoint(nonsense)
