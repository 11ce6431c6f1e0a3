"""What Ray's own processes are told through the environment on a small machine.

Ray reads these when a process of it starts, so they are set before Ray is imported. Each is a default: a value that the
operator has set already stays. Sockets, message delivery and storage do not go through Ray here, so its own telemetry
and eager polling are turned down; hosts and edges start behind those that serve and run at normal priority.
"""

from typing import Final

from cluster.kernel import environment, priority

_SMALL_MACHINE: Final = {
    # Ray gives workers a niceness of 15 unless told otherwise: hosts would starve beside anything else. Those that
    # serve give themselves the normal priority back once they have started.
    "RAY_worker_niceness": str(priority.starting_niceness()),
    # Hosts hold people's rooms: they are the last to be killed for memory, not the first.
    "RAY_worker_oom_score_adjustment": "0",
    "RAY_memory_monitor_refresh_ms": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    # One idle Python process for each CPU, never used.
    "RAY_prestart_worker_first_driver": "0",
    "RAY_task_events_report_interval_ms": "0",
    "RAY_enable_timeline": "0",
    "RAY_enable_metrics_collection": "0",
    "RAY_emit_main_service_metrics": "0",
    "RAY_event_stats": "0",
    # How often Ray looks around; the defaults are 100 to 200 ms.
    "RAY_raylet_report_resources_period_milliseconds": "1000",
    "RAY_raylet_check_gc_period_milliseconds": "1000",
    "RAY_kill_idle_workers_interval_ms": "2000",
    "RAY_local_fs_monitor_interval_ms": "1000",
    "RAY_worker_num_grpc_internal_threads": "1",
    "RAY_core_worker_num_server_call_thread": "1",
    "RAY_num_server_call_thread": "1",
    # Chat is not recorded in anyone's terminal.
    "RAY_COLOR_PREFIX": "0",
    "RAY_DEDUP_LOGS": "0",
    # Keras 3 cannot load what TensorFlow Recommenders makes.
    "TF_USE_LEGACY_KERAS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "2",
}


_OWN_CLUSTER: Final = {
    # Ray's ports listen on every interface: whoever talks to them must know its token.
    "RAY_AUTH_MODE": "token",
}


def prepare(extra: dict[str, str], *, own_cluster: bool) -> None:
    """Set the defaults, and `extra` for every process of this installation. `own_cluster`: Ray is started here."""
    for name, value in {**_SMALL_MACHINE, **(_OWN_CLUSTER if own_cluster else {})}.items():
        environment.set_default(name, value)
    for name, value in extra.items():
        environment.ensure(name, value)
