"""What a start ends with: where everything is, a token, and lines to paste that work.

What is to be pasted is printed without wrapping or styles, however narrow the terminal is.
"""

from typing import Any

from rich.console import Console

from cluster.run.cli.screen import summary_table


def show(summary: dict[str, Any], console: Console) -> None:
    url = summary["url"]
    rows = [
        ("Server", url),
        ("HTTP API", f"{url}/v1/openapi.json"),
        ("Socket.IO", f"{url}/socket.io/  (/events, /chat, /notifications)"),
        ("Hosts, edges", f"{summary['hosts']} and {summary['edges']}"),
        ("MongoDB", summary["mongodb"]),
        ("Redis", summary["redis"]),
        ("Ray", summary["ray"]["address"]),
        ("Data", summary["data"]),
        ("Logs", summary["logs"]),
    ]
    if summary["ray"]["dashboard"]:
        rows.append(("Ray dashboard", summary["ray"]["dashboard"]))
    console.print()
    console.print(summary_table(rows))
    for line in _lines(summary):
        console.print(line, soft_wrap=True, markup=False)


def _lines(summary: dict[str, Any]) -> list[str]:
    url, token = summary["url"], summary.get("development_token")
    lines = [""]
    if token:
        lines += [
            f"A token for {summary['development_user']} (development only):",
            token,
            "",
            "Try it:",
            f"  curl -s -H 'Authorization: Bearer {token}' '{url}/v1/events?limit=5'",
            f"  (cd examples/node && npm ci && node first_message.mjs {url})",
            "",
        ]
    return [*lines, f"Ready after {summary['ready_after_s']:.1f} s. Stop it: flow down --data-dir {summary['data']}"]
