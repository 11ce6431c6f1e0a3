"""The seam to Ray: the only place that starts it, makes actors on it and calls them.

The supervisor uses it; hosts and edges are plain classes that become detached, named actors here. It promises that
every call has a deadline and fails with a FlowError: UNAVAILABLE when the actor is away, DEADLINE_EXCEEDED when it is
late (it may have run), the actor's own FlowError otherwise. A call is never repeated: whoever calls decides. Messages
do not travel here; only starting, stopping and watching do.
"""

import asyncio
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray
from ray import exceptions as ray_exceptions
from ray._private import node as ray_node
from ray._private import ray_constants
from ray._private import worker as ray_worker
from ray._private.authentication.http_token_authentication import get_auth_headers_if_auth_enabled
from ray.actor import ActorHandle
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster.kernel.errors import DEADLINE_EXCEEDED, INTERNAL, START_FAILED, UNAVAILABLE, FlowError
from cluster.run.dashboard_gate import DashboardGate
from cluster.run.fork_server import entrance
from cluster.run.installation import Installation
from cluster.run.public_port import free_port
from cluster.run.settings import RaySettings

_log = logging.getLogger("flow.ray")

_MEGABYTE = 1024 * 1024
MAX_CONCURRENT_CALLS = 10_000
_TOUCH_OF_CPU = 0.001
"""Ray puts an actor that asks for nothing on any node, whatever its scheduling strategy says."""


@dataclass(frozen=True, slots=True)
class RayActor:
    """One named actor; the handle follows it through restarts."""

    name: str
    handle: "ActorHandle[Any]"


class RayRuntime:
    """Ray, started here or joined."""

    def __init__(self, settings: RaySettings, installation: Installation, address: str | None) -> None:
        self._settings = settings
        self._address = address
        self._namespace = installation.name
        self._directory = installation.runtime / "ray"
        self._classes: dict[type[Any], Any] = {}

    @property
    def is_local(self) -> bool:
        return self._address is None

    def start(self) -> None:
        """Start or join Ray; blocks for seconds, on the main thread, before signal handlers are set (Ray sets its own).

        Raises FlowError START_FAILED.
        """
        try:
            if self._address is None:
                self._start_local()
            else:
                ray.init(address=self._address, namespace=self._namespace, log_to_driver=False)
        except (RuntimeError, ConnectionError, OSError, ValueError, ray_exceptions.RayError) as error:
            where = f"at {self._address}" if self._address else f"in {self._directory}"
            raise FlowError(START_FAILED, f"Ray did not start {where}: {error}") from error

    def _start_local(self) -> None:
        # What earlier runs left; the data directory's lock says that none of them lives.
        shutil.rmtree(self._directory, ignore_errors=True)
        with _head_node(_OwnNode if self._settings.dashboard else _LeanNode):
            ray.init(
                address="local",
                namespace=self._namespace,
                num_cpus=self._settings.num_cpus,
                object_store_memory=self._settings.object_store_memory_mb * _MEGABYTE,
                include_dashboard=self._settings.dashboard,
                dashboard_port=free_port(),
                log_to_driver=False,
                configure_logging=False,
                _temp_dir=str(self._directory),
                _node_ip_address=self._settings.node_ip_address,
            )

    def dashboard_gate(self) -> DashboardGate | None:
        """The way to the dashboard without a token, not open yet; None when no dashboard was asked for."""
        if not self.is_local or not self._settings.dashboard:
            return None
        target = f"http://{ray_node_of_this_process().webui_url}"
        return DashboardGate(self._settings.dashboard_port, target, lambda: get_auth_headers_if_auth_enabled({}))

    def describe(self) -> dict[str, Any]:
        """For the state file and people."""
        context = ray.get_runtime_context()
        return {
            "version": ray.__version__,
            "address": context.gcs_address,
            "local": self.is_local,
            "namespace": self._namespace,
            "logs": str(self._directory / "session_latest" / "logs") if self.is_local else None,
            "dashboard": f"http://127.0.0.1:{self._settings.dashboard_port}" if self._settings.dashboard else None,
        }

    def raylet(self) -> int:
        """The process that starts the workers of the node that was started here."""
        [raylet] = ray_node_of_this_process().all_processes[ray_constants.PROCESS_TYPE_RAYLET]
        return int(raylet.process.pid)

    def job(self) -> str:
        """As whose work Ray starts hosts and edges: this process's."""
        return str(ray.get_runtime_context().get_job_id())

    def nodes(self) -> list[str]:
        """The ids of the nodes that Ray counts as alive. Asks Ray and waits."""
        return [str(node["NodeID"]) for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]

    def create(
        self, name: str, actor_class: type[Any], *arguments: Any, node: str | None = None, restarts: bool = True
    ) -> RayActor:
        """Make a detached actor of that name, on `node` while that is there, or find the one that lives. With
        `restarts` Ray starts it again whenever it dies."""
        strategy: Any = "SPREAD" if node is None else NodeAffinitySchedulingStrategy(node, soft=True)
        remote = self._classes.get(actor_class)
        if remote is None:  # kept, for Ray pickles a class and stores it whenever it is wrapped
            remote = self._classes[actor_class] = ray.remote(actor_class)
        handle = remote.options(
            name=name,
            namespace=self._namespace,
            lifetime="detached",
            get_if_exists=True,
            max_restarts=-1 if restarts else 0,
            max_task_retries=0,
            num_cpus=_TOUCH_OF_CPU,
            max_concurrency=MAX_CONCURRENT_CALLS,
            scheduling_strategy=strategy,
            enable_task_events=False,
        ).remote(*arguments)
        return RayActor(name, handle)

    def living(self) -> list[str]:
        """The names of this installation's actors that an earlier supervisor left; none in a Ray of our own."""
        if self.is_local:
            return []
        named = ray.util.list_named_actors(all_namespaces=True)
        return [actor["name"] for actor in named if actor["namespace"] == self._namespace]

    async def call(self, actor: RayActor, method: str, *arguments: Any, timeout_s: float) -> Any:
        """Call once and wait at most `timeout_s`. Raises FlowError."""
        try:
            reference = getattr(actor.handle, method).remote(*arguments)
            return await asyncio.wait_for(asyncio.wrap_future(reference.future()), timeout_s)
        except TimeoutError:
            raise FlowError(
                DEADLINE_EXCEEDED, f"{actor.name} did not answer {method} within {timeout_s:g} s."
            ) from None
        except ray_exceptions.RayTaskError as error:
            if isinstance(error.cause, FlowError):
                raise error.cause from None
            raise FlowError(INTERNAL, f"{method} failed in {actor.name}: {error.cause!r}") from error
        except ray_exceptions.RayError as error:
            raise FlowError(UNAVAILABLE, f"{actor.name} is away: {type(error).__name__}.") from error

    def kill(self, actor: RayActor, *, restart: bool) -> None:
        """End the actor's process now; with `restart` Ray may start it again, if it was made so."""
        try:
            ray.kill(actor.handle, no_restart=not restart)
        except ray_exceptions.RayError as error:
            _log.info("%s was gone before it was killed: %s", actor.name, type(error).__name__)

    def stop(self) -> None:
        """Leave Ray; a local one ends with all its processes. Blocks for a second or two."""
        if ray.is_initialized():
            ray.shutdown()


@contextmanager
def joined(address: str, namespace: str) -> Iterator[None]:
    """Be a driver of a Ray that runs already, inside the `with` block. Raises FlowError START_FAILED."""
    try:
        ray.init(address=address, namespace=namespace, log_to_driver=False, configure_logging=False)
    except (RuntimeError, ConnectionError, OSError, ValueError, ray_exceptions.RayError) as error:
        raise FlowError(START_FAILED, f"Ray at {address} cannot be joined: {error}") from error
    try:
        yield
    finally:
        ray.shutdown()


def ray_node_of_this_process() -> Any:
    """Ray's own object for the node that `start` made."""
    return ray_worker._global_node  # noqa: SLF001 - the dashboard's address is known nowhere else


class _OwnNode(ray_node.Node):
    """A head node whose workers come from the fork server."""

    def __init__(self, ray_params: Any, *arguments: Any, **named: Any) -> None:
        ray_params.worker_path = entrance.__file__
        super().__init__(ray_params, *arguments, **named)


class _LeanNode(_OwnNode):
    """A head node without three processes that Ray has no option to leave out: one copies logs to drivers, one scales
    clouds, one is the dashboard's shell. Nothing here uses them; together they hold 300 MB and double the start's time.
    """

    def start_log_monitor(self) -> None:
        """Logs stay in their files."""

    def start_monitor(self) -> None:
        """There is no cloud to scale."""

    def start_api_server(self, *, include_dashboard: bool | None, raise_on_failure: bool) -> None:
        """`--dashboard` starts the real one, in a stock node."""
        self._webui_url = ""


@contextmanager
def _head_node(node_class: type[ray_node.Node]) -> Iterator[None]:
    """Let `ray.init` make its head node of this class."""
    stock = ray_node.Node
    setattr(ray_node, "Node", node_class)  # noqa: B010 - a plain assignment would need an ignore for mypy
    try:
        yield
    finally:
        setattr(ray_node, "Node", stock)  # noqa: B010
