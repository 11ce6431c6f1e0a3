"""`flow token`: an access token on standard output and nothing else, for scripts of developers."""

import asyncio
from typing import Annotated

import typer

from cluster.run.cli.common import DEFAULT_DATA_DIRECTORY, DataDirectory, reports_errors
from cluster.run.installation import Installation


@reports_errors
def token(
    username: Annotated[str, typer.Argument(help="Whose token; the user is made when there is none.")],
    data_directory: DataDirectory = DEFAULT_DATA_DIRECTORY,
    lifetime_s: Annotated[int, typer.Option("--lifetime", help="Seconds it is good for.", min=1)] = 12 * 3600,
) -> None:
    """Print an access token (development only)."""
    from cluster.run import attached, development_token

    found = attached.attachment(Installation(data_directory))
    typer.echo(asyncio.run(development_token.issue(found, username, lifetime_s)))
