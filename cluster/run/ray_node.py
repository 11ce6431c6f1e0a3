"""Where this process runs, as Ray knows it. Small, so that a process that starts has it at once."""

import ray


def node_address() -> str:
    """The address of the node this process runs on, as the other nodes of the cluster know it."""
    return str(ray.util.get_node_ip_address())  # type: ignore[no-untyped-call]


def node_id() -> str:
    """The node's name in the cluster; new each time its Ray is started."""
    return str(ray.get_runtime_context().get_node_id())
