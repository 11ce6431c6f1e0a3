"""The command line: `flow`. Each command is a file of its own; this one only puts them together.

Commands that need Ray, TensorFlow or the databases import them when they run, so that the others answer at once.
"""

import os
import sys

import typer

from cluster.run.cli import data, doctor, down, experiments, models, outbox, scale, status, token, train, up

app = typer.Typer(
    name="flow",
    help="Start, stop and look after Flow.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("up")(up.up)
app.command("down")(down.down)
app.command("status")(status.status)
app.command("scale")(scale.scale)
app.command("drain")(scale.drain)
app.command("token")(token.token)
app.command("doctor")(doctor.doctor)
app.command("train")(train.train)
app.add_typer(models.app, name="models")
app.add_typer(experiments.app, name="experiments")
app.add_typer(data.app, name="import")
app.add_typer(outbox.app, name="outbox")


def main() -> None:
    """Run one command and leave at once.

    The database drivers' threads can keep the interpreter spinning in its own shutdown for minutes after everything is
    closed and printed (seen about once in thirty runs), so a finished command does not go through it.
    """
    try:
        app()
        code = 0
    except SystemExit as ended:
        code = _code(ended)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _code(ended: SystemExit) -> int:
    if ended.code is None or isinstance(ended.code, int):
        return ended.code or 0
    typer.echo(ended.code, err=True)
    return 1


if __name__ == "__main__":
    main()
