"""Makes the objects of a process from its plan: which implementation stands behind each port.

The processes of the cluster and the supervisor call it, each for what it needs. It starts nothing but what it must open
to return it. It imports nothing that only edges need (`edge_wiring`): a host that was killed is back sooner without it.
"""

from collections.abc import Collection
from pathlib import Path

from actors.push.log_sender import LogSender
from actors.push.port import PushSender
from cluster.kernel.clock import Clock
from cluster.kernel.errors import UNAVAILABLE, FlowError
from cluster.link.pool import HostLinks, HostLinksListener
from cluster.link.port import LinkService
from cluster.link.server import LinkServer
from cluster.placement.membership import ViewStore, withdraw
from cluster.placement.view import Member, View
from cluster.run.plan import Plan
from cluster.run.process import ProcessPlan
from cluster.run.ray_node import node_address, node_id
from storage import open as storage_open
from storage.open import Storage


async def open_storage(plan: ProcessPlan, clock: Clock) -> Storage:
    """Raises FlowError UNAVAILABLE while the database is away, START_FAILED for what waiting cannot cure."""
    try:
        return await storage_open.open_storage(plan.storage, clock)
    except FlowError as error:
        if isinstance(error.__cause__, FlowError) and error.__cause__.kind is UNAVAILABLE:
            raise FlowError(UNAVAILABLE, error.message) from error
        raise


async def prepare_storage(plan: Plan, clock: Clock) -> Storage:
    """The supervisor's own storage, after indexes and migrations. Raises FlowError START_FAILED."""
    return await storage_open.open_storage(plan.storage_settings(), clock)


async def withdraw_former(store: ViewStore, living: Collection[str], clock: Clock) -> int:
    """Take out members of earlier runs, whose processes are not among the `living`; returns how many."""
    view = await store.load() or View()
    gone = [member for member in view.members if member.process not in living]
    for member in gone:
        await withdraw(store, member.name, clock, incarnation=member.incarnation)
    return len(gone)


def link_server(plan: ProcessPlan, name: str, incarnation: str, service: LinkService) -> LinkServer:
    return LinkServer(
        secret=plan.secrets.cluster_secret.encode(),
        name=name,
        incarnation=incarnation,
        service=service,
        limits=plan.settings.link,
    )


def host_links(plan: ProcessPlan, name: str, incarnation: str, listener: HostLinksListener) -> HostLinks:
    return HostLinks(
        secret=plan.secrets.cluster_secret.encode(),
        name=name,
        incarnation=incarnation,
        listener=listener,
        limits=plan.settings.link,
    )


def link_host(plan: ProcessPlan) -> str:
    """The address of this node at which links listen."""
    if plan.link_host is not None:
        return plan.link_host
    return node_address()


def member(plan: ProcessPlan, name: str, incarnation: str, address: tuple[str, int]) -> Member:
    host, port = address
    shown = f"[{host}]" if ":" in host else host
    return Member(
        name=name,
        kind=plan.kind,
        incarnation=incarnation,
        address=f"{shown}:{port}",
        node=node_id(),
        process=plan.name,
    )


def push_sender(plan: ProcessPlan, clock: Clock) -> PushSender:
    """FCM with credentials, a stand-in for it when its address is set, else a sender that only logs."""
    secrets = plan.secrets
    if secrets.google_credentials is None and secrets.fcm_url is None:
        return LogSender()
    # Google's libraries take a second to import and 30 MB to hold: only for those who send.
    from actors.push.firebase import FirebaseSender

    file = None if secrets.google_credentials is None else Path(secrets.google_credentials)
    project = "flow-stand-in" if file is None else None
    return FirebaseSender(clock, credentials_file=file, project_id=project, endpoint=secrets.fcm_url)
