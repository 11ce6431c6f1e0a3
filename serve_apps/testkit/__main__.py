"""`python -m serve_apps.testkit examples.ranker`: tries a stage on everything that serving will ask of it.

The argument is a package or module with one class of a stage, or `module:Class`. Prints a line a check; exits 1 when
one of them failed, 2 when there is nothing to try.
"""

import importlib
import inspect
import sys
from typing import Annotated, Any

import typer

from serve_apps.pipeline.plugins import METHODS
from serve_apps.testkit import checks


def main(
    stage: Annotated[str, typer.Argument(help="A module with one class of a stage, or module:Class.")],
    budget_ms: Annotated[float, typer.Option(help="How long one answer may take, in milliseconds.")] = checks.BUDGET_MS,
) -> None:
    """Try a retriever, ranker, re-ranker or matcher."""
    try:
        made = _found(stage)()
        kind = checks.kind_of(made)
    except (ImportError, AttributeError, TypeError, LookupError, checks.Failed) as error:
        typer.echo(f"{stage} cannot be tried: {error}", err=True)
        raise typer.Exit(2) from None
    outcomes = checks.run(made, budget_ms)
    typer.echo(f"{stage} is a {kind}.")
    for outcome in outcomes:
        typer.echo(
            f"  ok   {outcome.check}" if outcome.problem is None else f"  FAIL {outcome.check}: {outcome.problem}"
        )
    if any(outcome.problem is not None for outcome in outcomes):
        raise typer.Exit(1)


def _found(path: str) -> Any:
    """The class itself. Raises ImportError, AttributeError, or LookupError when there is not exactly one."""
    module_name, _, class_name = path.partition(":")
    module = importlib.import_module(module_name)
    if class_name:
        return getattr(module, class_name)
    classes = [
        one
        for _, one in inspect.getmembers(module, inspect.isclass)
        if any(callable(getattr(one, method, None)) for method in METHODS.values())
        and one.__module__.startswith(module_name)
    ]
    if len(classes) != 1:
        raise LookupError(f"it holds {len(classes)} classes of a stage; name one as module:Class")
    return classes[0]


if __name__ == "__main__":
    sys.path.insert(0, "")
    typer.run(main)
