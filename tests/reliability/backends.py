"""What works in the database on behalf of tills, and how to keep it from going on."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from typing import Final

from wallet.core.database import Connection, connect

TIMEOUT_S: Final = 20.0
_POLL_S: Final = 0.005

_OF_TILLS: Final = "SELECT pid FROM pg_stat_activity WHERE application_name = 'wallet-till'"
_WAITING: Final = f"SELECT count(*) FROM ({_OF_TILLS} AND wait_event_type = 'Lock') AS waiting"  # noqa: S608 - the constant above


@asynccontextmanager
async def connected(database_url: str) -> AsyncIterator[Connection]:
    """Yield a connection of the test's own."""
    connection = await connect(database_url, application_name="tests")
    try:
        yield connection
    finally:
        await connection.close()


async def backends_of_tills(database_url: str) -> set[int]:
    """Return the pids of the backends that work for tills."""
    async with connected(database_url) as connection:
        return {row[0] for row in await connection.fetch(_OF_TILLS)}


async def until(is_so: Callable[[], Awaitable[bool]]) -> None:
    """Wait for something that happens in another process."""
    async with asyncio.timeout(TIMEOUT_S):
        while not await is_so():  # noqa: ASYNC110 - nobody there would set an event of ours
            await asyncio.sleep(_POLL_S)


async def wait_until_gone(database_url: str, pids: Collection[int] | None = None) -> None:
    """Wait until none of the backends, or none of any till, is still at work.

    A process that is killed leaves its backends behind, and those may still be committing.
    """

    async def are_gone() -> bool:
        left = await backends_of_tills(database_url)
        return not left or (pids is not None and left.isdisjoint(pids))

    await until(are_gone)


class Held:
    """Payments that cannot go on: each batch waits for the row of stops, which is locked here."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def wait_for(self, batches: int) -> None:
        """Wait until as many batches have begun and are held."""

        async def are_held() -> bool:
            waiting: int = await self._connection.fetchval(_WAITING)
            return waiting >= batches

        await until(are_held)


@asynccontextmanager
async def held_payments(database_url: str) -> AsyncIterator[Held]:
    """Hold every payment until the end; a till waits two seconds for a lock, so be quick."""
    async with connected(database_url) as connection, connection.transaction():
        await connection.execute("SELECT FROM stop_control WHERE id = 1 FOR UPDATE")
        yield Held(connection)
