"""The settings of one installation: one file, typed, checked, and the same in every process.

The command line loads them, the supervisor hands them to every actor. The file is `ray_config.yaml`: Flow's own part is
under `flow:`, and everything beside it is Ray Serve's own schema. Each package keeps its bounds and their defaults in a
frozen dataclass of its own; they are only nested here, so that a default exists once. `load` promises that what it
returns is usable as it stands, or it raises SETTINGS_INVALID with a sentence that names the key, the value and what to
do. It never holds a secret: those come from the environment (cluster.run.secrets).
"""

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from actors.limits import HostLimits
from actors.outbox.relay import RelayLimits
from actors.push.worker import PushLimits
from cluster.kernel.errors import SETTINGS_INVALID, FlowError
from cluster.link.port import LinkLimits
from cluster.run.settings_errors import sentence
from realtime.engine.limits import EngineLimits
from realtime.http.settings import ApiSettings
from realtime.limits import EdgeLimits
from serve_apps.training.settings import RetrainingSettings
from storage.settings import StorageSettings

DEFAULT_FILE = "ray_config.yaml"

MAX_MEMBERS = 64
"""Of one kind."""

_SERVE_KEYS = frozenset(
    {
        "proxy_location",
        "http_options",
        "grpc_options",
        "controller_options",
        "logging_config",
        "tracing_config",
        "target_capacity",
        "applications",
    }
)


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class EmbeddedSettings(_Section):
    """The MongoDB and Redis that Flow runs itself when no others are named."""

    mongodb_cache_gb: float = Field(default=2.0, ge=0.25, le=64)
    redis_max_memory_mb: int = Field(default=128, ge=16, le=65_536)
    ready_timeout_s: float = Field(default=30.0, gt=0, le=300)
    max_restarts_in_a_row: int = Field(default=5, ge=0, le=100)


class RaySettings(_Section):
    """How the local Ray is started; without effect when RAY_ADDRESS joins a cluster.

    `node_ip_address` is how other machines of the cluster reach this one; Ray finds it when it is not given. Ray's own
    ports ask for its token (`ray get-auth-token`) wherever they listen.
    """

    node_ip_address: str | None = None
    object_store_memory_mb: int = Field(default=80, ge=80, le=65_536)
    num_cpus: int = Field(default=4, ge=1, le=1024)
    dashboard: bool = False
    dashboard_port: int = Field(default=8265, ge=1, le=65_535)


class TokenLimits(_Section):
    """Access tokens; who signs them is a secret."""

    issuer: str = Field(default="flow", min_length=1)
    audience: str = Field(default="flow-clients", min_length=1)
    lifetime_s: int = Field(default=900, ge=30, le=86_400)


class SupervisionSettings(_Section):
    """How the supervisor watches over hosts and edges.

    A host reads the cluster's view every `view_poll_interval_s` and speaks for its shards until `view_lease_s` after
    the last read that named it; a process that is silent for `missed_heartbeats` intervals is replaced.
    One that died and is not heard again within `restart_timeout_s` is given up for another: its node may be gone.
    A new spare is made `calm_s` after the last loss of a member, when the rooms it had answer again.
    """

    heartbeat_interval_s: float = Field(default=1.0, gt=0, le=60)
    heartbeat_timeout_s: float = Field(default=1.0, gt=0, le=60)
    missed_heartbeats: int = Field(default=3, ge=2, le=100)
    view_lease_s: float = Field(default=1.5, gt=0, le=600)
    view_poll_interval_s: float = Field(default=0.4, gt=0, le=60)
    start_timeout_s: float = Field(default=60.0, gt=0, le=600)
    restart_timeout_s: float = Field(default=15.0, gt=0, le=600)
    calm_s: float = Field(default=5.0, ge=0, le=60)
    edge_drain_s: float = Field(default=2.0, ge=0, le=600)
    host_handover_s: float = Field(default=15.0, gt=0, le=600)
    model_ready_timeout_s: float = Field(default=90.0, gt=0, le=900)


class Settings(_Section):
    """Everything under `flow:`. Units are in the names."""

    environment: Literal["development", "production"] = "development"
    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65_535)
    hosts: int = Field(default=1, ge=1, le=MAX_MEMBERS)
    standby_hosts: int = Field(default=1, ge=0, le=8)
    edges: int = Field(default=1, ge=1, le=MAX_MEMBERS)
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    recommender: bool = True
    embedded: EmbeddedSettings = EmbeddedSettings()
    ray: RaySettings = RaySettings()
    supervision: SupervisionSettings = SupervisionSettings()
    link: LinkLimits = LinkLimits()
    storage: StorageSettings = StorageSettings(uri="")
    actors: HostLimits = HostLimits()
    outbox: RelayLimits = RelayLimits()
    push: PushLimits = PushLimits()
    edge: EdgeLimits = EdgeLimits()
    sockets: EngineLimits = EngineLimits()
    http: ApiSettings = ApiSettings()
    tokens: TokenLimits = TokenLimits()
    training: RetrainingSettings = RetrainingSettings()

    @property
    def is_development(self) -> bool:
        return self.environment == "development"


class Configuration(_Section):
    """The whole file: Flow's part, checked, and Serve's part as it stands, for Ray to check."""

    flow: Settings = Settings()
    serve: dict[str, Any] = {}
    path: Path | None = None


def load(path: Path | None, overrides: dict[str, Any] | None = None) -> Configuration:
    """The settings in `path`, or the defaults when it is None; `overrides` replace keys of `flow:`.

    Raises FlowError SETTINGS_INVALID.
    """
    document = {} if path is None else _read(path)
    flow = document.pop("flow", None) or {}
    name = path.name if path is not None else "the defaults"
    if not isinstance(flow, dict):
        raise FlowError(SETTINGS_INVALID, f"flow in {name} must be a mapping of settings, not {type(flow).__name__}.")
    for key in document:
        if key not in _SERVE_KEYS:
            known = ", ".join(["flow", *sorted(_SERVE_KEYS)])
            raise FlowError(
                SETTINGS_INVALID, f"{key} in {name} is not a setting. Remove it, or use one of the known keys: {known}."
            )
    merged = _merged(flow, overrides or {})
    merged["storage"] = _without_addresses(merged.get("storage"), name)
    try:
        settings = Settings.model_validate(merged)
    except ValidationError as error:
        raise FlowError(SETTINGS_INVALID, sentence(error, Settings, name)) from None
    except FlowError as error:
        raise FlowError(SETTINGS_INVALID, f"A limit in {name} cannot be used: {error.message}") from None
    _check_combinations(settings)
    return Configuration(flow=settings, serve=document, path=path)


def find_file(named: Path | None) -> Path | None:
    """The settings file to use: the one named, else `ray_config.yaml` here, else the one that came with Flow.

    Raises FlowError SETTINGS_INVALID when the one named does not exist.
    """
    if named is not None:
        if not named.is_file():
            raise FlowError(SETTINGS_INVALID, f"The settings file {named} does not exist. Name another with --config.")
        return named.resolve()
    for candidate in (Path.cwd() / DEFAULT_FILE, Path(__file__).parents[2] / DEFAULT_FILE):
        if candidate.is_file():
            return candidate.resolve()
    return None


def _read(path: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(path.read_text())
    except OSError as error:
        raise FlowError(SETTINGS_INVALID, f"{path} cannot be read: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise FlowError(SETTINGS_INVALID, f"{path} is not valid YAML: {' '.join(str(error).split())}.") from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise FlowError(SETTINGS_INVALID, f"{path} must hold a mapping, not {type(document).__name__}.")
    return document


def _merged(flow: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    """The file's keys with the command line's over them; an override may name a key inside a section as `a.b`."""
    merged = dict(flow)
    for name, value in overrides.items():
        section, dot, key = name.partition(".")
        merged[section] = {**(merged.get(section) or {}), key: value} if dot else value
    return merged


def _without_addresses(section: Any, file_name: str) -> Any:
    """Addresses of databases hold passwords, so the file may not name them; the plan does, from the environment."""
    if section is None:
        return StorageSettings(uri="")
    if not isinstance(section, dict):
        return section
    for key, variable in (("uri", "MONGODB_URI"), ("redis_url", "REDIS_URL")):
        if key in section:
            raise FlowError(
                SETTINGS_INVALID,
                f"flow.storage.{key} in {file_name} is a secret. Remove it and set {variable} in the environment.",
            )
    return {"uri": "", **section}


def _check_combinations(settings: Settings) -> None:
    """What each section cannot see on its own."""
    watch = settings.supervision
    if settings.link.ping_timeout_s <= settings.link.ping_interval_s:
        raise FlowError(
            SETTINGS_INVALID,
            f"flow.link.ping_timeout_s is {settings.link.ping_timeout_s:g} and flow.link.ping_interval_s is "
            f"{settings.link.ping_interval_s:g}: a healthy link would be cut. Make the timeout the longer one.",
        )
    _check_lease(watch)
    if settings.ray.dashboard and settings.port == settings.ray.dashboard_port:
        raise FlowError(
            SETTINGS_INVALID,
            f"flow.port and flow.ray.dashboard_port are both {settings.port}. Choose another for one of them.",
        )


def _check_lease(watch: SupervisionSettings) -> None:
    """A host that answered a heartbeat just before its last read of the view may be replaced `missed - 1` intervals
    later, so it must have stopped speaking by then; and one late read must not silence it."""
    longest_s = (watch.missed_heartbeats - 1) * watch.heartbeat_interval_s
    if watch.view_lease_s >= longest_s:
        raise FlowError(
            SETTINGS_INVALID,
            f"flow.supervision.view_lease_s is {watch.view_lease_s:g}: a replaced host could still speak for its "
            f"shards. Make it less than (missed_heartbeats - 1) x heartbeat_interval_s, which is {longest_s:g}.",
        )
    if watch.view_lease_s < 2 * watch.view_poll_interval_s:
        raise FlowError(
            SETTINGS_INVALID,
            f"flow.supervision.view_lease_s is {watch.view_lease_s:g} and view_poll_interval_s is "
            f"{watch.view_poll_interval_s:g}: one late read would silence a host. Make the lease twice as long.",
        )
