"""What every command of the command line shares: its options, its exit codes, how it speaks and how it fails.

Exit codes: 0 done; 1 failed, with a sentence and the error's code on standard error; 2 used wrongly; 3 no Flow runs for
that data directory. Answers go to standard output, everything else to standard error, so that scripts can read answers.
"""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeVar

import orjson
import typer
from rich.console import Console

from cluster.kernel.errors import NOT_RUNNING, FlowError

P = ParamSpec("P")
R = TypeVar("R")

EXIT_FAILED = 1
EXIT_NOT_RUNNING = 3

DataDirectory = Annotated[Path, typer.Option("--data-dir", help="Which installation: its data directory.")]
AsJson = Annotated[bool, typer.Option("--json", help="Answer in JSON on standard output.")]
RegistryPlace = Annotated[
    str, typer.Option("--registry", help="A directory or fsspec URL of versions. [default: the installation's]")
]
SettingsFile = Annotated[Path | None, typer.Option("--config", help="The settings file. [default: ray_config.yaml]")]

DEFAULT_DATA_DIRECTORY = Path(".flow")

answers = Console(highlight=False)
remarks = Console(stderr=True, highlight=False)


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    text = orjson.dumps(value, default=str, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS)
    typer.echo(text.decode())


def reports_errors(command: Callable[P, R]) -> Callable[P, R]:
    """Turn a FlowError of a command into its sentence, its code and the exit code."""

    @wraps(command)
    def wrapped(*arguments: P.args, **options: P.kwargs) -> R:
        try:
            return command(*arguments, **options)
        except FlowError as error:
            if options.get("as_json"):
                print_json({"error": error.to_wire()})
            typer.echo(f"flow: {error.message} [{error.kind.code}]", err=True)
            raise typer.Exit(EXIT_NOT_RUNNING if error.kind is NOT_RUNNING else EXIT_FAILED) from None

    return wrapped
