"""A worker that is killed over and over gives every grant and ends every purse just once."""

import asyncio
import random
import signal
import sys
from collections.abc import Sequence
from datetime import date
from typing import Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.factories.benefits import YEN, make_office, wallet_row
from tests.factories.city import open_rooms
from tests.factories.moments import NOW, NOW_US
from tests.factories.planting import failed
from tests.factories.programmes import free_draft, make_programme
from tests.servers import ROOT, Database
from wallet.core.clock import TestClock, to_microseconds
from wallet.core.database import read
from wallet.core.ids import align_id, new_id
from wallet.people.open_wallets import NewWallet, open_wallets
from wallet.proof.prove import prove
from wallet.vouchers.issue import Issued
from wallet.vouchers.issue_many import issue_many
from wallet.vouchers.rules import IssueRequest

WALLETS: Final = 2_000
KILLS_MIN: Final = 5
LIVES_MAX: Final = 60
LIFE_TIMEOUT_S: Final = 20.0
OLD_YEN: Final = 700
OLD_LAST_DAY: Final = date(2026, 11, 20)
EARLIER_US: Final = to_microseconds(NOW.replace(day=10))

_PROGRESS: Final = text("""
SELECT (SELECT count(*) FROM benefit_grant WHERE state = 'granted') AS granted,
       (SELECT count(*) FROM purse WHERE ended_at IS NOT NULL) AS ended
""")
_HELD: Final = text("""
SELECT p.wallet_id, sum(b.credits_posted - b.debits_posted)::int AS yen
FROM purse AS p JOIN balance AS b ON b.account_id = p.account_id GROUP BY 1
""")


async def progress_of(engine: AsyncEngine) -> int:
    """Return how many grants were given and how many purses have ended."""
    async with read(engine) as connection:
        row = (await connection.execute(_PROGRESS)).one()
    return int(row.granted + row.ended)


async def live_and_die(engine: AsyncEngine, url: str, *, rng: random.Random) -> None:
    """Start a worker, and kill it some time after it has done anything, or is done with all."""
    before = await progress_of(engine)
    command = (sys.executable, "-m", "tests.reliability.worker_process", url)
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT)
    try:
        async with asyncio.timeout(LIFE_TIMEOUT_S):
            while await progress_of(engine) == before:
                assert process.returncode is None, "the worker ended by itself"
                await asyncio.sleep(0.005)
        await asyncio.sleep(rng.uniform(0, 0.05))
    finally:
        process.kill()
        assert await process.wait() == -signal.SIGKILL


async def fill_old_purses(url: str, wallet_ids: Sequence[UUID]) -> None:
    """Give every wallet money whose last day is over by now."""
    clock = TestClock(EARLIER_US)
    async with open_rooms(url, clock=clock) as (_, teller):
        draft = free_draft("old", budget_yen=10_000_000, last_day=OLD_LAST_DAY)
        await make_programme(teller, draft)
        requests = [
            IssueRequest(
                issue_id=align_id(new_id(now_us=EARLIER_US)),
                wallet_id=one,
                programme="old",
                amount_yen=OLD_YEN,
            )
            for one in wallet_ids
        ]
        answers = await issue_many(teller, requests=requests)
        assert all(isinstance(one, Issued) for one in answers)


async def test_grants_and_purses_survive_a_worker_that_is_killed(database: Database) -> None:
    url, rng = database.application_url, random.Random(7)  # noqa: S311 - repeatable, not secret
    async with open_rooms(url) as (engine, teller):
        wallet_ids = [new_id(now_us=NOW_US) for _ in range(WALLETS)]
        await open_wallets(
            engine, wallets=[NewWallet(one) for one in wallet_ids], now_us=EARLIER_US
        )
        await fill_old_purses(url, wallet_ids)
        office = await make_office(engine, teller, url)
        await office.approved(*[wallet_row(one) for one in wallet_ids])
        kills = 0
        while (done := await progress_of(engine)) < 2 * WALLETS:
            assert kills < LIVES_MAX, f"{done} of {2 * WALLETS} after {kills} lives"
            await live_and_die(engine, url, rng=rng)
            kills += 1
        assert kills >= KILLS_MIN, "the worker was killed when it had nothing to do"
        async with read(engine) as connection:
            held = {row.wallet_id: row.yen for row in await connection.execute(_HELD)}
        assert held == dict.fromkeys(wallet_ids, YEN)
        proof = await prove(engine, now_us=NOW_US)
        assert proof.ok, failed(proof.checks)
