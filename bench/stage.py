"""Where a run takes place: the embedded server, and databases that are thrown away afterwards."""

import asyncio
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg

from wallet.core import embedded
from wallet.migrate import migrate

CITY: Final = "bench_city"
YARDSTICK: Final = "bench_yardstick"
PEPPER_BYTES: Final = 24


@dataclass(frozen=True, kw_only=True)
class Stage:
    """The server and the two databases. ``directory`` takes logs and jobs for the generator."""

    cluster: embedded.Cluster
    pepper: str
    directory: Path

    @property
    def application_url(self) -> str:
        """The city as the product's own role sees it."""
        return embedded.url_for(self.cluster.application_url, CITY)

    @property
    def owner_url(self) -> str:
        """The city as its owner sees it."""
        return embedded.url_for(self.cluster.owner_url, CITY)

    @property
    def yardstick_url(self) -> str:
        """The database of pgbench."""
        return embedded.url_for(self.cluster.owner_url, YARDSTICK)


@contextmanager
def open_stage(data_directory: Path) -> Iterator[Stage]:
    """Start the server unless it runs, and make both databases; afterwards everything is undone.

    Databases that an earlier run left behind are dropped first. Call before an event loop turns.
    """
    was_running = embedded.status(data_directory=data_directory) is not None
    cluster = embedded.start(data_directory=data_directory)
    try:
        for name in (CITY, YARDSTICK):
            embedded.drop_database(owner_url=cluster.owner_url, name=name)
            embedded.create_database(owner_url=cluster.owner_url, name=name)
        with tempfile.TemporaryDirectory(prefix="bench-") as directory:
            stage = Stage(
                cluster=cluster,
                pepper=secrets.token_hex(PEPPER_BYTES),
                directory=Path(directory),
            )
            migrate(owner_url=stage.owner_url)
            yield stage
    finally:
        for name in (CITY, YARDSTICK):
            embedded.drop_database(owner_url=cluster.owner_url, name=name)
        if not was_running:
            embedded.stop(data_directory=data_directory)


async def checkpoint(stage: Stage) -> None:
    """Write out what filling the tables has left behind, so that it is not paid for later."""
    connection = await asyncpg.connect(stage.cluster.superuser_url, timeout=5)
    try:
        async with asyncio.timeout(60):
            await connection.execute("CHECKPOINT")
    finally:
        await connection.close()
