"""`flow models`: look at the versions of the recommender's model, compare them, choose the live one, go back."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from cluster.run.cli.common import (
    DEFAULT_DATA_DIRECTORY,
    AsJson,
    DataDirectory,
    RegistryPlace,
    answers,
    print_json,
    reports_errors,
)
from cluster.run.installation import Installation

if TYPE_CHECKING:
    from pathlib import Path

    from serve_apps.registry import Manifest, ModelRegistry, Pointer

app = typer.Typer(help="Versions of the recommender's model.", no_args_is_help=True)

Version = Annotated[str, typer.Argument(help="A version, as `flow models list` names it.")]


@app.command("list")
@reports_errors
def list_models(
    data_directory: DataDirectory = DEFAULT_DATA_DIRECTORY, registry_place: RegistryPlace = "", as_json: AsJson = False
) -> None:
    """Show every version, the newest first."""
    registry = _registry(data_directory, registry_place)
    pointer = registry.live()
    rows = [described(manifest, registry.state(manifest, pointer)) for manifest in registry.list()]
    if as_json:
        print_json({"live": None if pointer is None else pointer.version, "versions": rows})
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("version", "state", "kind", "made", "ndcg@10", "people", "events"):
        table.add_column(title, no_wrap=True)
    for row in rows:
        parameters = row["parameters"]
        score = row["metrics"].get(row["kind"], {}).get("ndcg@10")
        table.add_row(
            row["version"],
            row["state"],
            row["kind"],
            row["createdAt"],
            "" if score is None else f"{score:.3f}",
            str(parameters.get("people", "")),
            str(parameters.get("events", "")),
        )
    answers.print(table)


@app.command("show")
@reports_errors
def show(
    version: Version,
    data_directory: DataDirectory = DEFAULT_DATA_DIRECTORY,
    registry_place: RegistryPlace = "",
    as_json: AsJson = False,
) -> None:
    """Show all of one version, after its files were compared with their checksums."""
    registry = _registry(data_directory, registry_place)
    manifest, _ = registry.verified(version)
    found = described(manifest, registry.state(manifest, registry.live()))
    if as_json:
        print_json(found)
        return
    for name in ("version", "state", "kind", "createdAt", "parent", "codeVersion", "dataFingerprint"):
        answers.print(f"{name:<16} {found[name]}", markup=False)
    if manifest.gate is not None:
        answers.print(f"{'gate':<16} {manifest.gate.reason}", markup=False)
    answers.print(f"{'signature':<16} {manifest.signature.digest or 'none'}", markup=False)
    for side, schema in (("takes", manifest.signature.inputs), ("gives", manifest.signature.outputs)):
        for name, kind in schema.items():
            answers.print(f"{side:<16} {name}: {kind}", markup=False)
    if manifest.metrics:
        from serve_apps.training.report import table

        typer.echo("\n" + table(manifest.metrics))


@app.command("promote")
@reports_errors
def promote(
    version: Version,
    data_directory: DataDirectory = DEFAULT_DATA_DIRECTORY,
    registry_place: RegistryPlace = "",
    as_json: AsJson = False,
) -> None:
    """Make a version live; replicas follow within seconds."""
    _told(_registry(data_directory, registry_place).promote(version), as_json=as_json)


@app.command("rollback")
@reports_errors
def rollback(
    data_directory: DataDirectory = DEFAULT_DATA_DIRECTORY, registry_place: RegistryPlace = "", as_json: AsJson = False
) -> None:
    """Make the version before the live one live again; once more goes back one further."""
    _told(_registry(data_directory, registry_place).rollback(), as_json=as_json)


@app.command("compare")
@reports_errors
def compare(
    one: Version,
    other: Version,
    data_directory: DataDirectory = DEFAULT_DATA_DIRECTORY,
    registry_place: RegistryPlace = "",
    as_json: AsJson = False,
) -> None:
    """Show the metrics of two versions side by side, and whether they were measured on the same data."""
    registry = _registry(data_directory, registry_place)
    manifests = [registry.manifest(version) for version in (one, other)]
    first, second = (manifest.metrics.get(manifest.kind, {}) for manifest in manifests)
    same_data = manifests[0].data_fingerprint == manifests[1].data_fingerprint
    shared = [name for name in first if name in second]
    if as_json:
        metrics = {
            name: {one: first[name], other: second[name], "change": second[name] - first[name]} for name in shared
        }
        print_json({"sameData": same_data, "kinds": [manifest.kind for manifest in manifests], "metrics": metrics})
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("metric", one, other, "change"):
        table.add_column(title, no_wrap=True)
    for name in shared:
        table.add_row(name, f"{first[name]:.4f}", f"{second[name]:.4f}", f"{second[name] - first[name]:+.4f}")
    answers.print(table)
    if not same_data:
        answers.print("They were measured on different data: the numbers do not compare.")


def described(manifest: "Manifest", state: str) -> dict[str, Any]:
    """A version as JSON shows it."""
    gate = manifest.gate
    return {
        "version": manifest.version,
        "kind": manifest.kind,
        "state": state,
        "live": state == "live",
        "createdAt": datetime.fromtimestamp(manifest.created_ms / 1000, UTC).isoformat(timespec="seconds"),
        "parent": manifest.parent,
        "codeVersion": manifest.code_version,
        "dataFingerprint": manifest.data_fingerprint,
        "signature": {
            "digest": manifest.signature.digest,
            "inputs": manifest.signature.inputs,
            "outputs": manifest.signature.outputs,
        },
        "gate": None
        if gate is None
        else {"passed": gate.passed, "reason": gate.reason, "comparedWith": gate.compared_with},
        "metrics": manifest.metrics,
        "parameters": manifest.parameters,
    }


def _registry(data_directory: "Path", place: str) -> "ModelRegistry":
    from serve_apps.registry import ModelRegistry

    return ModelRegistry(place or Installation(data_directory).models)


def _told(pointer: "Pointer", *, as_json: bool) -> None:
    if as_json:
        print_json({"live": pointer.version, "previous": pointer.previous})
        return
    answers.print(f"{pointer.version} is live; before it: {pointer.previous or 'none'}")
