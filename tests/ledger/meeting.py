"""Two tellers that know nothing of each other, and ways to let their batches meet."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.factories.ledger import (
    open_teller,
)
from tests.factories.moments import NOW_US
from tests.patience import until
from tests.proxy import Fault, Proxy, open_proxy
from tests.servers import Database
from wallet.core.clock import TestClock
from wallet.core.database import Connection
from wallet.ledger import storage
from wallet.ledger.teller import Teller

WAITERS = """
SELECT count(*) = $1 FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock'
"""


@asynccontextmanager
async def two_tellers(
    database: Database, *, clock: TestClock | None = None
) -> AsyncIterator[tuple[Teller, Teller, Proxy]]:
    """Yield two tellers; the first one's COMMITs go through the proxy."""
    clock = clock or TestClock(NOW_US)
    async with (
        open_proxy(database.application_url) as (proxy, url),
        open_teller(url, clock=clock) as first,
        open_teller(database.application_url, clock=clock) as second,
    ):
        yield first, second, proxy


async def overlap(
    proxy: Proxy,
    connection: Connection,
    first: Callable[[], Awaitable[Any]],
    second: Callable[[], Awaitable[Any]],
) -> tuple[Any, Any]:
    """Let the second meet the first one's locks while its COMMIT is held, and return both."""
    proxy.faults.append(Fault.IS_HELD)
    one = asyncio.ensure_future(first())
    await proxy.held.wait()
    other = asyncio.ensure_future(second())
    await until(lambda: connection.fetchval(WAITERS, 1))
    assert not other.done()
    proxy.let_go.set()
    return await one, await other


async def meet(
    monkeypatch: pytest.MonkeyPatch,
    connection: Connection,
    first: Awaitable[list[str]],
    second: Awaitable[list[str]],
) -> None:
    """Let the first batch not write before the second waits for one of its locks."""
    reached, goes_on = asyncio.Event(), asyncio.Event()
    write = storage.record

    async def write_later(*arguments: Any, **more: Any) -> None:  # noqa: ANN401 - passed on
        if not reached.is_set():
            reached.set()
            await goes_on.wait()
        await write(*arguments, **more)

    monkeypatch.setattr(storage, "record", write_later)
    one = asyncio.ensure_future(first)
    await reached.wait()
    other = asyncio.ensure_future(second)
    await until(lambda: connection.fetchval(WAITERS, 1))
    goes_on.set()
    assert set(await one + await other) == {"created"}
