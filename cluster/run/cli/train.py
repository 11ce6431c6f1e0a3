"""`flow train`: make a model of what people did, or compare models on a file without touching a server."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from cluster.kernel.errors import INVALID_REQUEST, FlowError
from cluster.run.cli.common import (
    DEFAULT_DATA_DIRECTORY,
    AsJson,
    DataDirectory,
    RegistryPlace,
    answers,
    print_json,
    remarks,
    reports_errors,
)
from cluster.run.cli.models import described
from cluster.run.installation import Installation

if TYPE_CHECKING:
    from serve_apps.training.dry_run import Files
    from serve_apps.training.job import Outcome, Run
    from serve_apps.training.settings import Progress as Report
    from serve_apps.training.settings import TrainingProgress, TrainingSettings


@reports_errors
def train(
    data_directory: DataDirectory = DEFAULT_DATA_DIRECTORY,
    data: Annotated[
        Path | None, typer.Option("--data", help="Train on this CSV instead of what is stored.", metavar="FILE")
    ] = None,
    columns: Annotated[str, typer.Option("--columns", help="Which column is which: user=…,item=…,label=…,time=…")] = "",
    positive: Annotated[
        float | None,
        typer.Option("--positive", help="Labels from here on are liking. [default: 4, or 0.5 where none is above 1]"),
    ] = None,
    item_features: Annotated[
        Path | None, typer.Option("--item-features", help="CSV of items and what is known of them.")
    ] = None,
    user_features: Annotated[
        Path | None, typer.Option("--user-features", help="CSV of users and what is known of them.")
    ] = None,
    test: Annotated[Path | None, typer.Option("--test", help="CSV that is the test part.")] = None,
    split: Annotated[
        Literal["person", "global"], typer.Option("--split", help="Cut by each person's own time, or one for all.")
    ] = "person",
    models: Annotated[str, typer.Option("--models", help="Kinds to compare, apart by commas. [default: all]")] = "",
    serve: Annotated[str, typer.Option("--serve", help="The kind to publish, or best.")] = "two_tower",
    seed: Annotated[int, typer.Option("--seed", min=0, help="The same seed and data give the same model.")] = 42,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Compare models on --data and write nothing.")] = False,
    rank_groups: Annotated[
        bool, typer.Option("--rank-groups", help="--data is pairs with prepared features: compare rankers by MAP.")
    ] = False,
    no_promote: Annotated[bool, typer.Option("--no-promote", help="Leave the live version as it is.")] = False,
    registry_place: RegistryPlace = "",
    as_json: AsJson = False,
) -> None:
    """Train on what is stored (or on a file), compare with simple models, and go live if no worse than before."""
    from serve_apps.csv_data import ColumnNames, parse_names
    from serve_apps.training.dry_run import Files
    from serve_apps.training.job import Run

    names = parse_names(columns) if columns else ColumnNames()
    if data is None and (dry_run or rank_groups or columns or test or item_features or user_features):
        raise FlowError(INVALID_REQUEST, "These options read a file: name it with --data.")
    with _bars() as bars:
        report = _Reporter(bars)
        if rank_groups:
            assert data is not None
            results = _rank_groups(data, names, positive, seed, report)
            _print_results(results, as_json=as_json, words=None)
            return
        settings = _settings(models, split, seed, serve)
        files = None
        if data is not None:
            files = Files(data, names, positive, item_features, user_features, test)
        if dry_run:
            assert files is not None
            _dry_run(files, settings, report, as_json=as_json)
            return
        if test is not None:
            raise FlowError(INVALID_REQUEST, "--test measures: use it with --dry-run.")
        run = Run(settings, serve=serve, promote=not no_promote)
        outcome = asyncio.run(_train(Installation(data_directory), registry_place, files, run, report))
    _print_outcome(outcome, as_json=as_json)


def _settings(models: str, split: Literal["person", "global"], seed: int, serve: str) -> "TrainingSettings":
    from serve_apps.training.settings import BEST, KINDS, TrainingSettings

    kinds = tuple(part.strip() for part in models.split(",") if part.strip()) or KINDS
    unknown = [kind for kind in kinds if kind not in KINDS] + ([serve] if serve not in (*KINDS, BEST) else [])
    if unknown:
        raise FlowError(INVALID_REQUEST, f"{unknown[0]!r} is not a kind of model. Known: {', '.join(KINDS)}.")
    return replace(TrainingSettings(), models=kinds, split=split, seed=seed)


def _dry_run(files: "Files", settings: "TrainingSettings", report: "Report", *, as_json: bool) -> None:
    from serve_apps.training.csv_features import Remarks
    from serve_apps.training.dry_run import compare
    from serve_apps.training.report import table, verdict

    odd = Remarks()
    comparison = asyncio.run(compare(files, settings, report, odd))
    for sentence in odd.sentences():
        remarks.print(sentence, markup=False)
    if as_json:
        remarks.print(verdict(comparison.results), markup=False)
    _print_results(comparison.results, as_json=as_json, words=None if as_json else table(comparison.results))


def _rank_groups(data: Path, names: Any, positive: float | None, seed: int, report: "Report") -> dict[str, Any]:
    from serve_apps.training import rank_groups
    from serve_apps.training.csv_features import Remarks

    odd = Remarks()
    ranking = rank_groups.read(data, names, positive, odd)
    for sentence in odd.sentences():
        remarks.print(sentence, markup=False)
    return rank_groups.measure(ranking, seed, report)


def _print_results(results: dict[str, Any], *, as_json: bool, words: str | None) -> None:
    if as_json:
        print_json(results)
    elif words is not None:
        typer.echo(words)
    else:
        for name, metrics in results.items():
            typer.echo(f"{name:<18} " + ", ".join(f"{metric} {value:.4f}" for metric, value in metrics.items()))


def _print_outcome(outcome: "Outcome", *, as_json: bool) -> None:
    from serve_apps.training.report import table

    if as_json:
        print_json(
            {**described(outcome.manifest, "live" if outcome.promoted else "candidate"), "reason": outcome.reason}
        )
        return
    if outcome.manifest.metrics:
        typer.echo(table(outcome.manifest.metrics))
    state = "is live" if outcome.promoted else "is kept as a candidate"
    answers.print(f"{outcome.manifest.version} ({outcome.manifest.kind}) {state}. {outcome.reason}", markup=False)


async def _train(
    installation: Installation, place: str, files: "Files | None", run: "Run", report: "Report"
) -> "Outcome":
    """On a file here; on what is stored as a job of the Ray that runs."""
    if files is not None:
        from serve_apps.registry import ModelRegistry
        from serve_apps.training.csv_features import Remarks
        from serve_apps.training.dry_run import open_files
        from serve_apps.training.job import train_and_publish

        return await train_and_publish(
            await open_files(files, Remarks()), ModelRegistry(place or installation.models), run, report
        )
    from cluster.run import attached, ray_environment

    found = attached.attachment(installation)
    # Before Ray is imported: it reads then how its own processes are to be spoken to.
    ray_environment.prepare({}, own_cluster=bool(found.state["ray"]["local"]))
    from cluster.run import training_job

    return await training_job.run(found, place or str(installation.models.resolve()), run, report)


def _bars() -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[detail]}"),
        TimeElapsedColumn(),
        console=remarks,
        transient=True,
        disable=not remarks.is_terminal,
    )


class _Reporter:
    """A training run's steps as one bar on standard error, and as plain lines where that is no terminal."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._task = bars.add_task("starting", total=None, detail="")
        self._stage = ""

    def __call__(self, progress: "TrainingProgress") -> None:
        detail = "" if not progress.metrics else f"ndcg@10 {progress.metrics.get('ndcg@10', 0.0):.4f}"
        total = progress.max_epochs or None
        self._bars.update(self._task, description=progress.stage, completed=progress.epoch, total=total, detail=detail)
        if not remarks.is_terminal and (progress.stage != self._stage or detail):
            epoch = f" {progress.epoch}/{progress.max_epochs}" if progress.max_epochs else ""
            remarks.print(f"{progress.stage}{epoch} {detail}".rstrip(), markup=False)
        self._stage = progress.stage
