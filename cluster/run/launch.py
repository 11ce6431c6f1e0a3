"""From a command line to a running Flow: everything that happens once, on the main thread, before the event loop.

`flow up` calls `launch`. It settles settings, data directory, port and secrets before any process is started, so that
what is wrong is said at once; then it spawns the databases, starts Ray while they come up, and runs the supervisor. It
promises that nothing it started is left when it returns or raises.
"""

import asyncio
import logging
import resource
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.kernel import environment, logs
from cluster.kernel.errors import SETTINGS_INVALID, FlowError
from cluster.run import ray_environment, replica_environment, secrets, settings
from cluster.run.child_process import adopt_orphans
from cluster.run.embedded.mongod import Mongod
from cluster.run.embedded.redis import RedisServer
from cluster.run.embedded.server import EmbeddedServer, Program
from cluster.run.fork_server import entrance
from cluster.run.fork_server.server import ForkServer
from cluster.run.guard import Guard
from cluster.run.installation import Installation
from cluster.run.plan import Plan
from cluster.run.progress import Progress, stage
from cluster.run.public_port import PublicPort
from cluster.run.secrets import Secrets
from cluster.run.settings import Configuration, EmbeddedSettings

if TYPE_CHECKING:
    from cluster.run.ray_runtime import RayRuntime

_log = logging.getLogger("flow.supervisor")


@dataclass(frozen=True, slots=True)
class LaunchOptions:
    """What the command line said; `overrides` replace keys of the settings file's `flow:`."""

    data_directory: Path
    settings_file: Path | None = None
    overrides: dict[str, Any] = field(default_factory=dict)


def launch(options: LaunchOptions, progress: Progress, on_ready: Callable[[dict[str, Any]], None]) -> None:
    """Start Flow, call `on_ready` with its summary, and return when it has stopped. Raises FlowError."""
    configuration = settings.load(settings.find_file(options.settings_file), options.overrides)
    flow = configuration.flow
    installation = Installation(options.data_directory)
    installation.prepare()
    with installation.locked(), closing(PublicPort(flow.host, flow.port)) as port:
        if flow.ray.dashboard:
            PublicPort("127.0.0.1", flow.ray.dashboard_port).close()
        installation.clear_state()
        logs.configure("supervisor", flow.log_level, installation.logs)
        found = secrets.load(environment.read(), installation.data, development=flow.is_development, create=True)
        _check_production(configuration, found)
        mongod, redis = _embedded(configuration, found, installation)
        plan = Plan(
            configuration=configuration,
            secrets=found,
            installation=installation,
            mongodb_uri=found.mongodb_uri or mongod.program.url,
            redis_url=found.redis_url or redis.program.url,
            port=port.number,
        )
        installation.write_state({**plan.described(), "state": "starting"})
        _log.info("settings: %s", flow.model_dump_json())
        _log.info("environment: %s", found.described())
        _raise_file_limit()
        servers = [mongod] if found.mongodb_uri is None else []
        servers += [redis] if found.redis_url is None else []
        with closing(Guard()) as guard:
            _run(plan, tuple(servers), guard, progress, on_ready)


def _embedded(
    configuration: Configuration, found: Secrets, installation: Installation
) -> tuple[EmbeddedServer, EmbeddedServer]:
    """The two servers, not started; they are made even when they are not wanted, for nothing happens by making one."""
    chosen = configuration.flow.embedded
    data, runtime = installation.data, installation.runtime
    mongod_log, redis_log = installation.logs / "mongodb.log", installation.logs / "redis.log"
    mongod = Mongod(data, runtime, mongod_log, chosen.mongodb_cache_gb)
    redis = RedisServer(data, runtime, redis_log, chosen.redis_max_memory_mb)
    return _watched(chosen, mongod, mongod_log), _watched(chosen, redis, redis_log)


def _fork_server(plan: Plan, address: str, runtime: "RayRuntime") -> EmbeddedServer:
    """Started again however often it ends: what starts without it only takes longer."""
    program = ForkServer(address, plan.installation.runtime, runtime.raylet(), runtime.job())
    return EmbeddedServer(
        program,
        plan.installation.logs / "fork_server.log",
        ready_timeout_s=plan.settings.embedded.ready_timeout_s,
        max_restarts_in_a_row=sys.maxsize,
    )


def _watched(chosen: EmbeddedSettings, program: Program, log: Path) -> EmbeddedServer:
    return EmbeddedServer(
        program, log, ready_timeout_s=chosen.ready_timeout_s, max_restarts_in_a_row=chosen.max_restarts_in_a_row
    )


def _run(
    plan: Plan,
    servers: tuple[EmbeddedServer, ...],
    guard: Guard,
    progress: Progress,
    on_ready: Callable[[dict[str, Any]], None],
) -> None:
    own_cluster = plan.secrets.ray_address is None
    fork_address = str(plan.installation.runtime / "fork")
    ray_environment.prepare({**replica_environment.of(plan), entrance.ADDRESS: fork_address}, own_cluster=own_cluster)
    runtime = None
    adopt_orphans()
    try:
        for server in servers:
            server.spawn()
        with stage(progress, "Ray") as note:
            # Imported here and not above: Ray reads the environment that was prepared just now, and takes a second.
            from cluster.run.ray_runtime import RayRuntime
            from cluster.run.supervisor import Parts, Supervisor

            logs.adopt("ray", "ray.serve")
            runtime = RayRuntime(plan.settings.ray, plan.installation, plan.secrets.ray_address)
            runtime.start()
            if own_cluster:
                servers = (*servers, _fork_server(plan, fork_address, runtime))
                servers[-1].spawn()
            guard.watch_descendants()
            note.detail = f"joined {plan.secrets.ray_address}" if plan.secrets.ray_address else "local"
        asyncio.run(_supervise(lambda: Supervisor(Parts(plan, runtime, servers, guard, progress)).run(on_ready)))
    except KeyboardInterrupt:
        _log.info("interrupted while starting")
    finally:
        if runtime is not None:
            runtime.stop()
        for server in servers:
            server.kill()


async def _supervise(run: Callable[[], Any]) -> None:
    """The supervisor is made on the running loop; several failures of a start are told as the first of them."""
    try:
        await run()
    except* FlowError as group:
        raise _first(group) from None


def _first(group: BaseExceptionGroup[FlowError]) -> FlowError:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, FlowError)
    return error


def _check_production(configuration: Configuration, found: Secrets) -> None:
    """A production installation, and one that spans machines, names servers of its own."""
    missing = [
        name
        for name, value in ((secrets.MONGODB_URI, found.mongodb_uri), (secrets.REDIS_URL, found.redis_url))
        if value is None
    ]
    if not missing:
        return
    named = f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not set"
    if not configuration.flow.is_development:
        raise FlowError(
            SETTINGS_INVALID,
            f"flow.environment is production and {named}: the embedded servers are for one "
            "development machine. Set it to the server to use.",
        )
    if found.ray_address is not None:
        raise FlowError(
            SETTINGS_INVALID,
            f"RAY_ADDRESS joins the cluster at {found.ray_address} and {named}: other "
            "machines could not reach embedded servers. Set it to the server to use.",
        )


def _raise_file_limit() -> None:
    """Every socket of a client is an open file; what is started from here inherits the limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
