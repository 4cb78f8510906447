"""``wallet database``: the embedded PostgreSQL."""

import typer

from wallet.cli.shell import console
from wallet.core import embedded
from wallet.settings import read_settings

group = typer.Typer(no_args_is_help=True, help="The embedded PostgreSQL.")


@group.command("start")
def database_start() -> None:
    """Start the embedded PostgreSQL and leave it running."""
    server = embedded.start(data_directory=read_settings().data_directory / "postgres")
    console.print(server.application_url.rpartition("@")[2], highlight=False)


@group.command("stop")
def database_stop() -> None:
    """Stop the embedded PostgreSQL."""
    stopped = embedded.stop(data_directory=read_settings().data_directory / "postgres")
    console.print("Stopped." if stopped else "It was not running.")


@group.command("status")
def database_status() -> None:
    """Say whether the embedded PostgreSQL runs, and where."""
    server = embedded.status(data_directory=read_settings().data_directory / "postgres")
    console.print(
        "Not running." if server is None else server.application_url.rpartition("@")[2],
        highlight=False,
    )
