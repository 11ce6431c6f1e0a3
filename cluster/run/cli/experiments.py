"""`flow experiments`: what runs, and what came of it."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from cluster.kernel.clock import SystemClock
from cluster.kernel.errors import EXPERIMENT_INVALID, FlowError
from cluster.run import attached, settings
from cluster.run.cli.common import DEFAULT_DATA_DIRECTORY, AsJson, DataDirectory, answers, print_json, reports_errors
from cluster.run.installation import Installation
from serve_apps.contracts import RECOMMENDER_APPLICATION

if TYPE_CHECKING:
    from serve_apps.experiments.definition import Experiment
    from serve_apps.experiments.report import Report

app = typer.Typer(help="Experiments of the recommender.", no_args_is_help=True)


@app.command("list")
@reports_errors
def list_experiments(data_directory: DataDirectory = DEFAULT_DATA_DIRECTORY, as_json: AsJson = False) -> None:
    """What the settings declare; fails when a running experiment was edited without a new version."""
    found = attached.attachment(Installation(data_directory))
    experiments = _declared(found)
    asyncio.run(_check(found, experiments))
    now_ms = SystemClock().now_ms()
    rows = [
        {"key": one.key, "version": one.version, "running": one.runs_at(now_ms), "coverage": one.coverage}
        for one in experiments
    ]
    if as_json:
        print_json(rows)
        return
    table = Table("experiment", "version", "running", "coverage")
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    answers.print(table)


@app.command("results")
@reports_errors
def results(
    key: Annotated[str, typer.Argument(help="The experiment.")],
    data_directory: DataDirectory = DEFAULT_DATA_DIRECTORY,
    sequential: Annotated[bool, typer.Option(help="Intervals that hold however often one looks.")] = False,
    as_json: AsJson = False,
) -> None:
    """Each metric's effect, and whether to believe it."""
    found = attached.attachment(Installation(data_directory))
    experiment = next((one for one in _declared(found) if one.key == key), None)
    if experiment is None:
        raise FlowError(EXPERIMENT_INVALID, f"The settings declare no experiment {key}.")
    report = asyncio.run(_report(found, experiment, sequential=sequential))
    if as_json:
        print_json(report.to_builtins())
        return
    _show(report)


def _declared(found: attached.Attachment) -> tuple["Experiment", ...]:
    from serve_apps.experiments.definition import parse

    path = found.state["settings"]
    serve = settings.load(None if path is None else Path(path)).serve
    for application in serve.get("applications", []):
        if application.get("name") == RECOMMENDER_APPLICATION:
            documents = list((application.get("args") or {}).get("experiments") or [])
            for deployment in application.get("deployments") or []:
                documents = (deployment.get("user_config") or {}).get("experiments", documents)
            return parse(documents)
    return ()


async def _check(found: attached.Attachment, experiments: tuple["Experiment", ...]) -> None:
    from serve_apps.experiments import edits

    async with attached.opened(found) as storage:
        begun = await storage.experiments.begun()
    edits.check(experiments, {key: edits.Recorded(*values) for key, values in begun.items()})


async def _report(found: attached.Attachment, experiment: "Experiment", *, sequential: bool) -> "Report":
    from serve_apps.experiments.report import report
    from serve_apps.experiments.results import Tally

    tally = Tally(experiment)
    async with attached.opened(found) as storage:
        async for page in storage.experiments.units(experiment.key, experiment.version):
            tally.add(page)
    return report(experiment, tally.arms(), kind="sequential" if sequential else "fixed")


def _show(report: "Report") -> None:
    answers.print(f"{report.experiment.key}, version {report.experiment.version}: {report.units}")
    table = Table("metric", "variation", "control", "treatment", "difference", "interval", "p", "verdict")
    for result in (*report.primary, *report.guardrails):
        row: list[Any] = [result.metric.key, result.variation]
        if result.effect is None:
            row += ["-"] * 5
        else:
            one = result.effect
            numbers = [one.control, one.treatment, one.difference]
            row += [f"{number:.4g}" for number in numbers]
            row += [f"{one.interval.low:.4g} to {one.interval.high:.4g}", f"{one.p_value:.3g}"]
        table.add_row(*row, result.verdict)
    answers.print(table)
    for warning in report.warnings:
        answers.print(f"Mind: {warning}")
