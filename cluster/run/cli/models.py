"""`flow train` and `flow models`: make a model of what people did, look at the versions, choose the live one."""

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from cluster.run.cli.common import (
    DEFAULT_DATA_DIRECTORY,
    AsJson,
    DataDirectory,
    answers,
    print_json,
    remarks,
    reports_errors,
)
from cluster.run.installation import Installation

if TYPE_CHECKING:
    from serve_apps.registry import Manifest
    from serve_apps.training_settings import TrainingProgress

app = typer.Typer(help="Versions of the recommender's model.", no_args_is_help=True)


@reports_errors
def train(
    data_directory: DataDirectory = DEFAULT_DATA_DIRECTORY,
    no_promote: Annotated[bool, typer.Option("--no-promote", help="Leave the live version as it is.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train a model on the stored interactions and make it live."""
    installation = Installation(data_directory)
    manifest = asyncio.run(_train(installation, promote=not no_promote))
    if as_json:
        print_json(_described(manifest, live=not no_promote))
        return
    measured = ", ".join(f"{name} {value:.3f}" for name, value in manifest.metrics.get("two_tower", {}).items())
    answers.print(f"{manifest.version} {'is trained' if no_promote else 'is live'}: {measured or 'not measured'}")


async def _train(installation: Installation, *, promote: bool) -> "Manifest":
    from cluster.run import attached, ray_environment
    from serve_apps.registry import ModelRegistry
    from serve_apps.training import train_and_publish
    from storage.training_data import open_training_data

    found = attached.attachment(installation)
    ray_environment.prepare({}, own_cluster=False)
    registry = ModelRegistry(installation.models)
    data = await open_training_data(found.storage.uri, found.storage.database)
    try:
        manifest = await train_and_publish(data, registry, progress=_tell)
    finally:
        await data.close()
    if promote:
        await asyncio.to_thread(registry.promote, manifest.version)
    return manifest


def _tell(progress: "TrainingProgress") -> None:
    epoch = f" {progress.epoch}/{progress.max_epochs}" if progress.max_epochs else ""
    remarks.print(f"[dim]{progress.stage}{epoch}[/dim]")


@app.command("list")
@reports_errors
def list_models(data_directory: DataDirectory = DEFAULT_DATA_DIRECTORY, as_json: AsJson = False) -> None:
    """Show every version, the newest first."""
    from serve_apps.registry import ModelRegistry

    registry = ModelRegistry(Installation(data_directory).models)
    pointer = registry.live()
    live = None if pointer is None else pointer.version
    rows = [_described(manifest, live=manifest.version == live) for manifest in registry.list()]
    if as_json:
        print_json({"live": live, "versions": rows})
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("version", "live", "made", "ndcg@10", "people", "events"):
        table.add_column(title, no_wrap=True)
    for row in rows:
        parameters = row["parameters"]
        score = row["metrics"].get("two_tower", {}).get("ndcg@10")
        table.add_row(
            row["version"],
            "yes" if row["live"] else "",
            row["createdAt"],
            "" if score is None else f"{score:.3f}",
            str(parameters.get("people", "")),
            str(parameters.get("events", "")),
        )
    answers.print(table)


@app.command("promote")
@reports_errors
def promote(
    version: Annotated[str, typer.Argument(help="The version to make live.")],
    data_directory: DataDirectory = DEFAULT_DATA_DIRECTORY,
) -> None:
    """Make a version live; replicas follow within seconds."""
    from serve_apps.registry import ModelRegistry

    pointer = ModelRegistry(Installation(data_directory).models).promote(version)
    answers.print(f"{pointer.version} is live; before it: {pointer.previous or 'none'}")


def _described(manifest: "Manifest", *, live: bool) -> dict[str, Any]:
    return {
        "version": manifest.version,
        "live": live,
        "createdAt": datetime.fromtimestamp(manifest.created_ms / 1000, UTC).isoformat(timespec="seconds"),
        "metrics": manifest.metrics,
        "parameters": manifest.parameters,
    }
