"""The worker seals and releases by itself, and outlives a database that goes away."""

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.factories.approvals import make_rich, shown_by, waiting
from tests.factories.city import make_city
from tests.factories.ledger import account, codes, fund, open_accounts, open_teller, pending
from tests.factories.moments import NOW_US
from tests.patience import until
from tests.proxy import open_proxy
from tests.servers import Database
from wallet import worker
from wallet.core.clock import TestClock
from wallet.core.database import make_engine, read
from wallet.ledger.queries import lookup_accounts
from wallet.ledger.storage import EXPIRED_HOLDS_MAX
from wallet.ledger.verify_seals import verify_seals
from wallet.proof import prove
from wallet.worker import release_holds, run_worker

PATIENCE_S = 20.0
COUNT = "SELECT count(*) FROM {}"


@pytest.fixture
def clock() -> TestClock:
    """A clock that stands at noon."""
    return TestClock(NOW_US)


@pytest.fixture
async def engine(database: Database) -> AsyncIterator[AsyncEngine]:
    """An engine of the application's role."""
    engine = make_engine(database.application_url, pool_size=2, application_name="tests")
    yield engine
    await engine.dispose()


async def make_holds(database: Database, clock: TestClock, count: int) -> None:
    """Open holds that run out after a second, and let a minute go by."""
    async with open_teller(database.application_url, clock=clock) as teller:
        payer, payee = await open_accounts(teller, account(), account())
        await fund(teller, payer)
        holds = [pending(payer, payee, 1, timeout_s=1) for _ in range(count)]
        assert set(await codes(teller, *holds)) == {"created"}
    clock.advance(seconds=60)


async def count(engine: AsyncEngine, of: str) -> int:
    """Return how many rows there are, as in ``seal WHERE …``."""
    async with read(engine) as connection:
        found: int = (await connection.execute(text(COUNT.format(of)))).scalar_one()
        return found


PENDING = "pending_transfer WHERE state = 'pending'"


async def test_holds_run_out_although_nobody_pays(
    database: Database, engine: AsyncEngine, clock: TestClock
) -> None:
    await make_holds(database, clock, EXPIRED_HOLDS_MAX + 1)
    url = database.application_url
    assert await release_holds(engine, url, clock) == EXPIRED_HOLDS_MAX + 1
    assert await count(engine, PENDING) == 0
    assert await release_holds(engine, url, clock) == 0
    async with read(engine) as connection:
        ids = (await connection.execute(text("SELECT id FROM account"))).scalars()
        accounts = await lookup_accounts(connection, list(ids))
    assert {one.balance.debits_pending for one in accounts} == {0}


async def test_payments_that_wait_too_long_are_declined_although_nobody_asks(
    database: Database, engine: AsyncEngine, clock: TestClock
) -> None:
    async with make_city(database.application_url, clock=clock) as city:
        for _ in range(3):
            await waiting(city, await shown_by(city, await make_rich(city)))
        clock.advance(seconds=180)
        in_time = await waiting(city, await shown_by(city, await make_rich(city)))
        working = asyncio.create_task(
            run_worker(database_url=database.application_url, clock=clock, pause_s=0.05)
        )

        async def is_done() -> bool:
            return await count(engine, "payment WHERE state = 'declined'") == 3

        await until(is_done)
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        left = await count(
            engine, f"pending_payment WHERE decided_at IS NULL AND id = '{in_time.id}'"
        )
        assert left == 1
        assert (await prove(city.engine, now_us=clock())).ok


async def test_a_worker_seals_and_releases_until_it_is_cancelled(
    database: Database, engine: AsyncEngine, clock: TestClock
) -> None:
    await make_holds(database, clock, 3)
    working = asyncio.create_task(
        run_worker(database_url=database.application_url, clock=clock, pause_s=0.05)
    )

    async def is_done() -> bool:
        return await count(engine, "seal") == 1 and await count(engine, PENDING) == 0

    await until(is_done)
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    report = await verify_seals(engine)
    assert report.ok
    assert report.transfers == 4


async def test_sigterm_ends_a_worker_in_good_order(
    database: Database, engine: AsyncEngine, clock: TestClock
) -> None:
    await make_holds(database, clock, 1)
    working = asyncio.create_task(
        run_worker(database_url=database.application_url, clock=clock, pause_s=5)
    )

    async def is_sealed() -> bool:
        return await count(engine, "seal") == 1

    await until(is_sealed)
    await asyncio.sleep(0.2)  # Let it begin its pause.
    os.kill(os.getpid(), signal.SIGTERM)
    async with asyncio.timeout(4):
        await working


async def test_a_worker_outlives_its_database(
    database: Database,
    engine: AsyncEngine,
    clock: TestClock,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(worker, "BACKOFF_S_MAX", 0.1)
    caplog.set_level(logging.WARNING, logger=worker.__name__)
    await make_holds(database, clock, 3)
    async with open_proxy(database.application_url) as (proxy, url):
        proxy.go_down()
        working = asyncio.create_task(run_worker(database_url=url, clock=clock, pause_s=0.05))

        async def has_complained() -> bool:
            return len(caplog.records) > 1

        await until(has_complained)
        said = {record.getMessage() for record in caplog.records}
        assert any("the database is away" in one for one in said)
        assert not any("failed" in one for one in said)
        proxy.is_up = True

        async def is_sealed() -> bool:
            return await count(engine, "seal") == 1

        await until(is_sealed)
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)


async def test_a_job_that_always_fails_keeps_no_other_from_being_done(
    database: Database,
    engine: AsyncEngine,
    clock: TestClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tries = 0

    async def break_down(*_: object) -> None:
        nonlocal tries
        tries += 1
        message = "it never works"
        raise ValueError(message)

    first, *others = worker._JOBS  # noqa: SLF001 - what a round consists of
    monkeypatch.setattr(worker, "_JOBS", (break_down, first, break_down, *others))
    monkeypatch.setattr(worker, "BACKOFF_S_MAX", 3_600.0)
    await make_holds(database, clock, 3)
    working = asyncio.create_task(
        run_worker(database_url=database.application_url, clock=clock, pause_s=0.05)
    )

    async def is_done() -> bool:
        sealed = await count(engine, "seal") == 1 and await count(engine, PENDING) == 0
        return sealed and tries > 4

    await until(is_done)  # Three rounds, none of them put off.
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)


@pytest.mark.asvs("v5.0.0-16.2.5")
@pytest.mark.asvs("v5.0.0-16.3.4")
async def test_a_fault_of_the_programme_is_logged_by_its_place_and_not_its_values(
    database: Database,
    clock: TestClock,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rounds = asyncio.Event()

    async def break_down(*_: object, **__: object) -> None:
        if caplog.records:
            rounds.set()
        message = "the holder's name"
        raise ValueError(message)

    monkeypatch.setattr(worker, "seal", break_down)
    working = asyncio.create_task(
        run_worker(database_url=database.application_url, clock=clock, pause_s=0.01)
    )
    async with asyncio.timeout(PATIENCE_S):
        await rounds.wait()
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
    assert "ValueError in break_down" in caplog.text
    assert "holder" not in caplog.text
