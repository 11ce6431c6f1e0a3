"""`flow up`: start everything, show each stage, and say what to do next.

In the foreground it stays until Ctrl-C. With `--detach` the same command runs in a process of its own and this one
shows what that one reports through a pipe, then leaves; it fails with the other's reason when that one fails.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from cluster.kernel.errors import START_FAILED, FlowError
from cluster.run.cli.common import (
    DEFAULT_DATA_DIRECTORY,
    AsJson,
    DataDirectory,
    SettingsFile,
    print_json,
    remarks,
    reports_errors,
)
from cluster.run.cli.screen import Screen
from cluster.run.cli.welcome import show
from cluster.run.installation import Installation
from cluster.run.progress import Lines, Progress, replay

_LOG_LINES = 5


@reports_errors
def up(
    data_directory: DataDirectory = DEFAULT_DATA_DIRECTORY,
    settings_file: SettingsFile = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on. [default: 127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(help="Public port; 0 takes a free one. [default: 8080]")] = None,
    hosts: Annotated[int | None, typer.Option(help="How many hosts. [default: 1]")] = None,
    edges: Annotated[int | None, typer.Option(help="How many edges share the port. [default: 1]")] = None,
    dashboard: Annotated[bool, typer.Option("--dashboard", help="Start Ray's dashboard too (1.3 GB).")] = False,
    no_recommender: Annotated[bool, typer.Option("--no-recommender", help="Start without models.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Run in the background; return when ready.")] = False,
    as_json: AsJson = False,
    progress_fd: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Start Flow."""
    given = {"host": host, "port": port, "hosts": hosts, "edges": edges}
    overrides: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if dashboard:
        overrides["ray.dashboard"] = True
    if no_recommender:
        overrides["recommender"] = False
    if detach:
        ready = _detached(data_directory)
        _greet(ready, as_json=as_json)
        return
    from cluster.run.launch import LaunchOptions, launch

    options = LaunchOptions(data_directory, settings_file, overrides)
    if progress_fd is not None:
        _report_to(lambda progress, on_ready: launch(options, progress, on_ready), progress_fd)
        return
    launch(options, Screen(remarks), lambda summary: _greet(summary, as_json=as_json))


def _greet(summary: dict[str, Any], *, as_json: bool) -> None:
    """Say that it is ready. What is said comes from the summary alone."""
    if as_json:
        print_json(summary)
        sys.stdout.flush()
    else:
        show(summary, remarks)


def _report_to(start: Callable[[Progress, Callable[[dict[str, Any]], None]], None], descriptor: int) -> None:
    """The background's side of `--detach`."""
    with os.fdopen(descriptor, "wb") as stream:
        lines = Lines(stream)

        def ready(summary: dict[str, Any]) -> None:
            lines.send({"event": "ready", "summary": summary})
            lines.close()

        try:
            start(lines, ready)
        except FlowError as error:
            lines.send({"event": "error", "error": error.to_wire()})
            raise


def _detached(data_directory: Path) -> dict[str, Any]:
    """Start the same command in the background and follow it until it is ready. Raises FlowError with its reason."""
    installation = Installation(data_directory)
    installation.prepare()
    arguments = [argument for argument in sys.argv[1:] if argument not in ("--detach", "--json")]
    read_end, write_end = os.pipe()
    log_path = installation.logs / "up.log"
    with log_path.open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - this very command
            [sys.executable, "-m", "cluster.run.cli.main", *arguments, "--progress-fd", str(write_end)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            pass_fds=(write_end,),
        )
    os.close(write_end)
    with _ended_when_interrupted(process), os.fdopen(read_end, "rb") as stream:
        screen = Screen(remarks)
        for line in stream:
            event = orjson.loads(line)
            match event["event"]:
                case "ready":
                    summary: dict[str, Any] = event["summary"]
                    return summary
                case "error":
                    process.wait()
                    raise FlowError.from_wire(event["error"])
                case _:
                    replay(event, screen)
    code = process.wait()
    words = " | ".join(log_path.read_text(errors="replace").splitlines()[-_LOG_LINES:])
    raise FlowError(START_FAILED, f"The process in the background ended with code {code}: {words or 'it said nothing'}")


@contextmanager
def _ended_when_interrupted(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        process.terminate()
        process.wait()
        raise typer.Exit(130) from None
