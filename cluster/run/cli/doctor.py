"""`flow doctor`: looks at everything a start needs and says, for what is wrong, what to do. It changes nothing.

Exit code 1 when something would keep Flow from starting.
"""

import sys
from collections.abc import Callable, Iterator
from typing import Annotated, NamedTuple

import typer
from rich.markup import escape

from cluster.kernel import environment
from cluster.kernel.errors import FlowError
from cluster.run import examination, secrets
from cluster.run.cli.common import (
    DEFAULT_DATA_DIRECTORY,
    EXIT_FAILED,
    AsJson,
    DataDirectory,
    SettingsFile,
    answers,
    print_json,
    reports_errors,
)
from cluster.run.installation import Installation


class Check(NamedTuple):
    """`state` is ok, note or wrong; `text` says what was found and what to do."""

    name: str
    state: str
    text: str


_MARKS = {"ok": "[green]✓[/green]", "note": "[yellow]![/yellow]", "wrong": "[red]✗[/red]"}


@reports_errors
def doctor(
    data_directory: DataDirectory = DEFAULT_DATA_DIRECTORY,
    settings_file: SettingsFile = None,
    port: Annotated[int | None, typer.Option(help="Look at this port instead of the settings'.")] = None,
    as_json: AsJson = False,
) -> None:
    """Look for what would keep Flow from starting."""
    installation = Installation(data_directory)
    checks = list(_checks(installation, settings_file, port))
    healthy = all(check.state != "wrong" for check in checks)
    if as_json:
        print_json({"ok": healthy, "checks": [check._asdict() for check in checks]})
    else:
        for check in checks:
            answers.print(f"{_MARKS[check.state]} {check.name:<14} {escape(check.text)}", soft_wrap=True)
    if not healthy:
        raise typer.Exit(EXIT_FAILED)


def _checks(installation: Installation, settings_file: SettingsFile, port: int | None) -> Iterator[Check]:
    yield _tried("python", lambda: examination.python(sys.version_info[:3]))
    from cluster.run import settings

    configuration = settings.Configuration()
    try:
        configuration = settings.load(settings.find_file(settings_file))
    except FlowError as error:
        yield Check("settings", "wrong", error.message)
    else:
        yield Check("settings", "ok", str(configuration.path or "the defaults"))
    flow = configuration.flow
    variables = environment.read()
    yield _tried("secrets", lambda: _secrets(installation, development=flow.is_development))
    for program, variable in (("mongod", secrets.MONGODB_URI), ("redis-server", secrets.REDIS_URL)):
        yield _tried(program, lambda p=program, v=variable: examination.server(p, v, variables))  # type: ignore[misc]
    running = installation.is_locked()
    yield Check("data directory", *_data(installation, running=running))
    if not running:
        number = flow.port if port is None else port
        yield _tried("port", lambda: examination.port(flow.host, number))
    yield Check("open files", *examination.open_files(flow.edges))
    yield Check("memory", *examination.memory(recommender=flow.recommender))
    yield Check("disk", *examination.disk(installation.data))
    yield _tried("ray", examination.ray_version)


def _tried(name: str, look: Callable[[], tuple[str, str]]) -> Check:
    try:
        return Check(name, *look())
    except FlowError as error:
        return Check(name, "wrong", error.message)


def _secrets(installation: Installation, *, development: bool) -> tuple[str, str]:
    """Development makes what is missing at the first start, so only what is there can be wrong."""
    try:
        found = secrets.load(environment.read(), installation.data, development=development, create=False)
    except FlowError:
        if development and not (installation.data / secrets.FILE_NAME).exists():
            return "ok", "made at the first start"
        raise
    return "ok", "; ".join(f"{name} {state}" for name, state in found.described().items())


def _data(installation: Installation, *, running: bool) -> tuple[str, str]:
    if running:
        return "note", f"{installation.data} is in use: Flow runs. Stop it with `flow down`."
    return examination.writable(installation.data)
