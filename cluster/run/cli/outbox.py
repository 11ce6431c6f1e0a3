"""`flow outbox`: what was given up after its last try, to be looked at and tried again.

Pushes that could not be sent, and the causes whose notifications could not be worked out: messages and answers.
"""

import asyncio
from typing import Annotated, Any

import typer
from rich.table import Table

from cluster.run.cli.common import (
    DEFAULT_DATA_DIRECTORY,
    AsJson,
    DataDirectory,
    answers,
    print_json,
    reports_errors,
)
from cluster.run.installation import Installation

app = typer.Typer(help="Pushes that could not be sent, and what could not be made into pushes.", no_args_is_help=True)

_PAGE = 500


@app.command("list")
@reports_errors
def list_dead(
    data_directory: DataDirectory = DEFAULT_DATA_DIRECTORY,
    limit: Annotated[int, typer.Option(help="At most so many.", min=1, max=_PAGE)] = 50,
    after: Annotated[str | None, typer.Option(help="Go on after this id.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show the dead letters, in the order of their ids."""
    found = asyncio.run(_list(Installation(data_directory), after, limit))
    if as_json:
        print_json(found)
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("id", "user", "device", "attempts", "error"):
        table.add_column(title, overflow="fold")
    for row in found["items"]:
        table.add_row(row["id"], row["userId"], row["deviceId"], str(row["attempts"]), row["lastError"])
    answers.print(table)
    answers.print(", ".join(f"{count} {state}" for state, count in found["counts"].items()))


@app.command("causes")
@reports_errors
def list_causes(
    data_directory: DataDirectory = DEFAULT_DATA_DIRECTORY,
    limit: Annotated[int, typer.Option(help="At most so many.", min=1, max=_PAGE)] = 50,
    after: Annotated[str | None, typer.Option(help="Go on after this id.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show the messages and answers whose notifications were given up, in the order of their ids."""
    found = asyncio.run(_causes(Installation(data_directory), after, limit))
    if as_json:
        print_json(found)
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("id", "failures", "error"):
        table.add_column(title, overflow="fold")
    for row in found["items"]:
        table.add_row(row["id"], str(row["failures"]), row["lastError"])
    answers.print(table)


@app.command("replay")
@reports_errors
def replay(
    ids: Annotated[list[str] | None, typer.Argument(help="Which; --all for every one.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All dead letters and causes.")] = False,
    data_directory: DataDirectory = DEFAULT_DATA_DIRECTORY,
    as_json: AsJson = False,
) -> None:
    """Send dead letters again, and work out causes again, with their attempts forgotten."""
    if bool(ids) == every:
        raise typer.BadParameter("name ids, or say --all")
    replayed = asyncio.run(_replay(Installation(data_directory), None if every else ids))
    if as_json:
        print_json({"replayed": replayed})
    else:
        answers.print(f"{replayed} will be tried again.")


async def _list(installation: Installation, after: str | None, limit: int) -> dict[str, Any]:
    from cluster.run import attached

    async with attached.opened(attached.attachment(installation)) as storage:
        rows = await storage.outbox.dead(after, limit)
        counts = await storage.outbox.statistics()
    items = [
        {
            "id": row.id,
            "userId": row.user_id,
            "deviceId": row.device_id,
            "attempts": row.attempts,
            "lastError": row.last_error,
        }
        for row in rows
    ]
    return {"items": items, "next": items[-1]["id"] if len(items) == limit else None, "counts": counts}


async def _causes(installation: Installation, after: str | None, limit: int) -> dict[str, Any]:
    from cluster.run import attached

    async with attached.opened(attached.attachment(installation)) as storage:
        rows = await storage.dead_causes.page(after, limit)
    items = [{"id": row.id, "failures": row.failures, "lastError": row.last_error} for row in rows]
    return {"items": items, "next": items[-1]["id"] if len(items) == limit else None}


async def _replay(installation: Installation, ids: list[str] | None) -> int:
    """One page after another; a letter that dies again meanwhile is not taken twice, for pages only go forward."""
    from cluster.kernel.clock import SystemClock
    from cluster.run import attached
    from storage.dead_causes import is_cause

    now_ms = SystemClock().now_ms()
    async with attached.opened(attached.attachment(installation)) as storage:
        if ids is not None:
            causes = [one for one in ids if is_cause(one)]
            pushes = [one for one in ids if not is_cause(one)]
            return sum(
                [
                    *[await storage.outbox.replay(page, now_ms) for page in _pages(pushes)],
                    *[await storage.dead_causes.replay(page) for page in _pages(causes)],
                ]
            )
        replayed, after = 0, None
        while rows := await storage.outbox.dead(after, _PAGE):
            after = rows[-1].id
            replayed += await storage.outbox.replay([row.id for row in rows], now_ms)
        after = None
        while found := await storage.dead_causes.page(after, _PAGE):
            after = found[-1].id
            replayed += await storage.dead_causes.replay([cause.id for cause in found])
        return replayed


def _pages(ids: list[str]) -> list[list[str]]:
    return [ids[start : start + _PAGE] for start in range(0, len(ids), _PAGE)]
