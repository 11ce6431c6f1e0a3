"""`flow down`: stop the Flow of a data directory and wait until nothing of it is left."""

import time
from typing import Annotated

import psutil
import typer

from cluster.kernel.errors import FlowError
from cluster.run.cli.common import DEFAULT_DATA_DIRECTORY, AsJson, DataDirectory, print_json, remarks, reports_errors
from cluster.run.control import ask
from cluster.run.installation import Installation


@reports_errors
def down(
    data_directory: DataDirectory = DEFAULT_DATA_DIRECTORY,
    timeout_s: Annotated[float, typer.Option("--timeout", help="Seconds before it is ended by force.")] = 15.0,
    as_json: AsJson = False,
) -> None:
    """Stop Flow."""
    installation = Installation(data_directory)
    state = installation.running_state()
    begun = time.monotonic()
    forced = stop(installation, int(state["pid"]), timeout_s)
    seconds = round(time.monotonic() - begun, 1)
    if as_json:
        print_json({"stopped": True, "forced": forced, "seconds": seconds})
    else:
        remarks.print(f"Stopped {state['data']} in {seconds} s{' by force' if forced else ''}.")


def stop(installation: Installation, pid: int, timeout_s: float) -> bool:
    """Ask it to stop and wait; past `timeout_s` kill it, which ends its children too. Returns whether it was killed."""
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return False
    try:
        ask(installation.control_socket, "stop")
    except FlowError:
        process.terminate()
    _, alive = psutil.wait_procs(family, timeout=timeout_s)
    for left in alive:
        try:
            left.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(alive, timeout=timeout_s)
    return bool(alive)
