"""`flow status`: what runs, how it is and what it uses."""

from typing import Any

from rich.console import Group

from cluster.run.cli.common import DEFAULT_DATA_DIRECTORY, AsJson, DataDirectory, answers, print_json, reports_errors
from cluster.run.cli.screen import member_rows, summary_table
from cluster.run.control import ask
from cluster.run.installation import Installation


@reports_errors
def status(data_directory: DataDirectory = DEFAULT_DATA_DIRECTORY, as_json: AsJson = False) -> None:
    """Show what runs."""
    installation = Installation(data_directory)
    installation.running_state()
    found: dict[str, Any] = ask(installation.control_socket, "status")
    if as_json:
        print_json(found)
        return
    recommender = found["recommender"]
    applications = [f"{name}: {one['status']}" for name, one in recommender["applications"].items()]
    rows = [
        ("Server", found["url"]),
        ("Supervisor", f"pid {found['pid']}, version {found['version']}"),
        *((name, _server(server)) for name, server in found["embedded"].items()),
        ("Recommender", ", ".join(applications) or ("not deployed" if recommender["wanted"] else "off")),
        ("Memory", f"{found['memory_mb']} MB in {len(found['processes'])} processes"),
        ("Data", found["data"]),
    ]
    answers.print(Group(summary_table(rows), "", member_rows(found["members"])))


def _server(server: dict[str, Any]) -> str:
    state = "runs" if server["alive"] else "is away"
    return f"{state}, pid {server['pid']}, {server['restarts']} restarts"
