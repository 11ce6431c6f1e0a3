"""One link for each host of the view."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from cluster.kernel.errors import UNAVAILABLE, FlowError
from cluster.kernel.ids import chat_key, new_id
from cluster.kernel.wire import decode
from cluster.link.pool import HostLinks
from cluster.link.server import LinkServer
from cluster.placement.view import Member, View, draining, joined, left, replaced
from tests.link.doubles import LONG_S, SECRET, ScriptedService
from tests.support.journal import Journal


class PoolListener:
    def __init__(self) -> None:
        self.journal = Journal()

    def host_connected(self, host: str) -> None:
        self.journal.add(("connected", host))

    def host_disconnected(self, host: str, reason: str) -> None:
        self.journal.add(("disconnected", host))

    def host_pushed(self, host: str, topic: str, body: msgspec.Raw) -> None:
        self.journal.add(("pushed", host, topic))


class Host:
    """A host's process, as far as its link goes."""

    def __init__(self, name: str, incarnation: str = "a") -> None:
        self.name = name
        self.incarnation = incarnation
        self.service = ScriptedService()
        self.server = LinkServer(secret=SECRET, name=name, incarnation=incarnation, service=self.service)

    async def start(self) -> Member:
        host, port = await self.server.start("127.0.0.1")
        return Member(self.name, "host", self.incarnation, f"{host}:{port}", "node-0")


class Cluster:
    """A view, the hosts in it, and one process's links to them."""

    def __init__(self) -> None:
        self.listener = PoolListener()
        self.links = HostLinks(secret=SECRET, name="edge-0", incarnation="a", listener=self.listener)
        self.view = View()
        self.hosts: list[Host] = []

    async def add(self, name: str, incarnation: str = "a") -> Host:
        host = Host(name, incarnation)
        self.hosts.append(host)
        member = await host.start()
        known = self.view.member(name)
        self.follow(joined(self.view, member) if known is None else replaced(self.view, member))
        return host

    def follow(self, view: View) -> None:
        self.view = view
        self.links.apply(view)

    async def connected(self, name: str, times: int = 1) -> None:
        await self.listener.journal.has(("connected", name), times=times)

    async def stop(self) -> None:
        await self.links.close()
        for host in self.hosts:
            await host.server.stop()


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    made = Cluster()
    yield made
    await made.stop()


def a_key_of(view: View, host: str) -> Any:
    while True:
        key = chat_key(new_id())
        owner = view.host_for(key)
        if owner is not None and owner.name == host:
            return key


async def test_a_key_leads_to_its_owner(cluster: Cluster) -> None:
    for name in ("host-0", "host-1", "host-2"):
        await cluster.add(name)
        await cluster.connected(name)
    for host in cluster.hosts:
        link = cluster.links.link_for(a_key_of(cluster.view, host.name))
        assert decode(await link.call("echo", host.name, LONG_S), str) == host.name
        assert host.service.journal.entries[-1] == ("request", "echo", host.name)


async def test_without_hosts_nothing_can_be_asked(cluster: Cluster) -> None:
    for view in (View(), View(1, (Member("edge-0", "edge", "a", "127.0.0.1:1", "n"),))):
        cluster.links.apply(view)
        with pytest.raises(FlowError) as caught:
            cluster.links.link_for(chat_key(new_id()))
        assert caught.value.kind is UNAVAILABLE
        assert cluster.links.hosts() == ()


async def test_pushes_come_with_the_hosts_name(cluster: Cluster) -> None:
    hosts = [await cluster.add("host-0"), await cluster.add("host-1")]
    for host in hosts:
        await cluster.connected(host.name)
        assert host.service.peers[0].push("t", None)
        await cluster.listener.journal.has(("pushed", host.name, "t"))


async def test_a_host_that_started_again_elsewhere_is_dialed_at_once(cluster: Cluster) -> None:
    first = await cluster.add("host-0")
    await cluster.connected("host-0")
    second = await cluster.add("host-0", "b")
    await cluster.connected("host-0", times=2)
    assert decode(await cluster.links.link_to("host-0").call("echo", 2, LONG_S), int) == 2
    assert ("request", "echo", 2) in second.service.journal.entries
    await first.service.journal.has(("lost", "edge-0"))


async def test_a_view_that_says_what_the_link_knows_already_breaks_nothing(cluster: Cluster) -> None:
    await cluster.add("host-0", "b")
    await cluster.connected("host-0")
    # The link reached the new process before this view, which still named the old one, was replaced.
    member = cluster.view.member("host-0")
    assert member is not None
    old = msgspec.structs.replace(member, incarnation="a")
    cluster.links.link_to("host-0")
    cluster.follow(replaced(cluster.view, old))
    await cluster.connected("host-0", times=2)
    cluster.follow(replaced(cluster.view, member))
    assert cluster.links.link_to("host-0").is_connected


async def test_a_draining_host_owns_nothing_but_keeps_its_link(cluster: Cluster) -> None:
    await cluster.add("host-0")
    await cluster.add("host-1")
    await cluster.connected("host-0")
    call = cluster.links.link_to("host-0").call("echo", "in flight", LONG_S)
    cluster.follow(draining(cluster.view, "host-0"))
    assert decode(await call, str) == "in flight"
    assert cluster.links.link_to("host-0").is_connected
    assert {cluster.links.host_for(chat_key(new_id())) for _ in range(50)} == {"host-1"}


async def test_a_host_that_left_is_hung_up_on(cluster: Cluster) -> None:
    host = await cluster.add("host-0")
    await cluster.connected("host-0")
    cluster.follow(left(cluster.view, "host-0"))
    with pytest.raises(FlowError):
        cluster.links.link_to("host-0")
    await cluster.listener.journal.has(("disconnected", "host-0"))
    await host.service.journal.has(("lost", "edge-0"))
    assert cluster.links.statistics() == {}


async def test_an_older_view_changes_nothing(cluster: Cluster) -> None:
    await cluster.add("host-0")
    older = cluster.view
    await cluster.add("host-1")
    cluster.links.apply(older)
    assert set(cluster.links.hosts()) == {"host-0", "host-1"}
    assert cluster.links.view is cluster.view


async def test_an_address_that_is_none_harms_only_its_host(cluster: Cluster) -> None:
    cluster.follow(joined(cluster.view, Member("host-9", "host", "a", "nonsense", "n")))
    await cluster.add("host-0")
    await cluster.connected("host-0")
    assert not cluster.links.link_to("host-9").is_connected


async def test_closing_hangs_up_on_everyone(cluster: Cluster) -> None:
    for name in ("host-0", "host-1"):
        await cluster.add(name)
        await cluster.connected(name)
    await cluster.links.close()
    await cluster.links.close()
    for host in cluster.hosts:
        await host.service.journal.has(("lost", "edge-0"))
    cluster.links.apply(View(99))
    assert cluster.links.hosts() == ()
