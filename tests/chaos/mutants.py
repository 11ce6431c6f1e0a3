"""`python -m tests.chaos.mutants --seconds 60 --seed 7`: run every mutation; each must be found out.

One line of JSON on standard output. Exits 0 when each run named a promise that its mutation breaks, 1 when one
survived, 2 when one could not be run.
"""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec
from rich.table import Table

from cluster.kernel.errors import FlowError
from tests.chaos.mutations import BY_NAME, MUTATIONS, Mutation, mutated_source_and_doubles
from tests.chaos.options import Options
from tests.chaos.report import Screen
from tests.chaos.run import run
from tests.chaos.two_owners import two_owners


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.mutants", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--only", default="", help=f"of {','.join(BY_NAME)}")
    given = parser.parse_args(arguments)
    chosen = [BY_NAME[name] for name in given.only.split(",") if name] or list(MUTATIONS)
    results = []
    with Screen(given.seconds) as screen:
        for mutation in chosen:
            screen.say(f"--- {mutation.name}: {mutation.breaks}")
            options = Options(seconds=given.seconds, seed=given.seed, kinds=mutation.kinds, mutation=mutation.name)
            results.append(_try(mutation, options, screen))
    screen.console.print(_table(results))
    sys.stdout.write(msgspec.json.encode({"seed": given.seed, "mutations": results}).decode() + "\n")
    if any(result["error"] for result in results):
        return 2
    return 0 if all(result["found"] for result in results) else 1


def _try(mutation: Mutation, options: Options, screen: Screen) -> dict[str, Any]:
    """Whether the checker named one of the promises that this mutation breaks."""
    with tempfile.TemporaryDirectory(prefix="flow-mutant-") as scratch:
        source = mutated_source_and_doubles(mutation, Path(scratch) / "source")
        kept = msgspec.structs.replace(options, keep=Path(scratch) / "run")
        try:
            owners = two_owners(source).violations
            outcome = asyncio.run(run(kept, screen.say, source=source, tick=screen.tick))
        except (RuntimeError, FlowError, TimeoutError) as error:
            return {"name": mutation.name, "found": False, "violations": {}, "two_owners": {}, "error": str(error)}
    violations = {kind: count for kind, count in outcome.verdict.violations.items() if count}
    found = bool(mutation.found_as & (violations.keys() | owners.keys()))
    screen.say(f"{mutation.name} {'was found out' if found else 'SURVIVED'}: {violations}, two owners: {owners}")
    return {"name": mutation.name, "found": found, "violations": violations, "two_owners": owners, "error": ""}


def _table(results: list[dict[str, Any]]) -> Table:
    table = Table("mutation", "found out", "by processes", "by two owners in one")
    for result in results:
        named = [
            "  ".join(f"{kind} {count}" for kind, count in result[by].items()) for by in ("violations", "two_owners")
        ]
        table.add_row(result["name"], "yes" if result["found"] else "NO", result["error"] or named[0], named[1])
    return table


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
