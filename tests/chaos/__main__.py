"""`python -m tests.chaos --seconds 120 --seed 7`: one run. One line of JSON on standard output, everything else on
standard error. Exits 0 when every promise was kept, 1 when one was broken or the run proves nothing, 2 when there was
no run."""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

import msgspec

from cluster.kernel.errors import FlowError
from tests.chaos.mutations import BY_NAME as MUTATIONS
from tests.chaos.mutations import mutated_source_and_doubles
from tests.chaos.options import Options
from tests.chaos.phone_processes import ROOT
from tests.chaos.report import Screen, show
from tests.chaos.run import run
from tests.chaos.schedule import BY_NAME
from tests.chaos.two_owners import two_owners


def parse(arguments: list[str]) -> Options:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Seeded faults on a whole Flow.")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long faults come and clients write")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--hosts", type=int, default=3)
    parser.add_argument("--edges", type=int, default=3)
    parser.add_argument("--phones", type=int, default=16, help="clients in Python")
    parser.add_argument("--javascript-phones", type=int, default=4, help="clients with the official JavaScript library")
    parser.add_argument("--rate", type=float, default=160.0, help="messages a second that they try to send together")
    parser.add_argument("--recommender", action="store_true", help="start models too, and kill their replicas")
    parser.add_argument("--kinds", default="", help=f"only these faults, of {','.join(BY_NAME)}")
    parser.add_argument(
        "--mutation", default="", choices=["", *MUTATIONS], help="break the server on purpose; the run must then fail"
    )
    parser.add_argument("--keep", type=Path, default=None, help="keep histories and logs here")
    given = vars(parser.parse_args(arguments))
    kinds = tuple(name for name in given.pop("kinds").split(",") if name)
    unknown = [name for name in kinds if name not in BY_NAME]
    if unknown:
        parser.error(f"there are no such faults: {', '.join(unknown)}")
    if given["mutation"] and not kinds:
        kinds = MUTATIONS[given["mutation"]].kinds
    return Options(**given, kinds=kinds)


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    with Screen(options.seconds) as screen, tempfile.TemporaryDirectory(prefix="flow-mutant-") as scratch:
        try:
            mutation = MUTATIONS.get(options.mutation)
            source = mutated_source_and_doubles(mutation, Path(scratch) / "source") if mutation else ROOT
            owners = two_owners(source)
            screen.say(
                f"two owners in one process, {owners.seeds} stories: {owners.violations or 'every promise kept'}"
            )
            outcome = asyncio.run(run(options, screen.say, source=source, tick=screen.tick))
        except (RuntimeError, ValueError, FlowError, TimeoutError) as error:
            screen.say(f"There was no run: {type(error).__name__} {error}")
            return 2
        except KeyboardInterrupt:
            screen.say("Interrupted; everything that was started is ended.")
            return 130
    show(outcome, screen.console)
    sys.stdout.write(msgspec.json.encode(outcome.numbers | {"two_owners": owners}).decode() + "\n")
    return 0 if outcome.verdict.is_good and not owners.violations else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
