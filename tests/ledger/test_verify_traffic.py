"""The ledger's proof beside traffic, and after it."""

import asyncio
import random
from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from tests.factories.ledger import (
    account,
    fund,
    open_accounts,
    open_teller,
    pending,
    post,
    transfer,
    void,
)
from tests.factories.moments import NOW_US
from tests.factories.planting import failed
from tests.servers import Database
from wallet.core.clock import TestClock
from wallet.core.database import make_engine
from wallet.ledger.create import create_transfers
from wallet.ledger.rules import (
    ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS,
    BALANCING_DEBIT,
    CLOSING_DEBIT,
    LINKED,
    Transfer,
)
from wallet.ledger.teller import Teller
from wallet.ledger.verify import LedgerReport, verify

SEED = 20_261_125
REQUESTS = 250


class Traffic:
    """Draws requests of every kind between a few accounts; most succeed, some must not."""

    def __init__(self, teller: Teller, clock: TestClock, accounts: list[UUID]) -> None:
        self._teller, self._clock, self._accounts = teller, clock, accounts
        self._random = random.Random(SEED)  # noqa: S311 - repeatable, not secret
        self._holds: list[Transfer] = []

    def _draw(self) -> list[Transfer]:
        debit, credit = self._random.sample(self._accounts, 2)
        amount = self._random.randrange(400)
        kind = self._random.randrange(8)
        if kind == 0:
            other = self._random.choice([i for i in self._accounts if i != debit])
            return [
                transfer(debit, credit, amount, flags=LINKED),
                transfer(debit, other, amount),
            ]
        if kind == 1:
            return [transfer(debit, credit, amount, flags=BALANCING_DEBIT)]
        if kind in {2, 3}:
            more = CLOSING_DEBIT if self._random.random() < 0.1 else 0
            hold = pending(
                debit, credit, amount, more=more, timeout_s=self._random.choice((0, 1, 30))
            )
            self._holds.append(hold)
            return [hold]
        if kind in {4, 5} and self._holds:
            hold = self._random.choice(self._holds)
            return [post(hold) if kind == 4 else void(hold)]
        return [transfer(debit, credit, amount)]

    async def run(self, requests: int) -> None:
        """Send the requests, a few at a time, while time goes by."""
        for _ in range(requests // 5):
            self._clock.advance(seconds=self._random.random())
            await asyncio.gather(*[create_transfers(self._teller, self._draw()) for _ in range(5)])


@pytest.fixture
async def traffic(database: Database) -> AsyncIterator[Traffic]:
    """Traffic between accounts with and without limits, settled by two lanes."""
    clock = TestClock(NOW_US)
    async with open_teller(database.application_url, clock=clock, lanes=2) as teller:
        accounts = await open_accounts(
            teller,
            *[account(flags=ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS) for _ in range(4)],
            *[account() for _ in range(3)],
            account(min_available=-1_000, max_balance=5_000),
        )
        for account_id in accounts[:4]:
            await fund(teller, account_id, 2_000)
        yield Traffic(teller, clock, accounts)


async def report_of(database: Database) -> LedgerReport:
    """Verify as the application does."""
    engine = make_engine(database.application_url, pool_size=1, application_name="tests")
    try:
        return await verify(engine, NOW_US + 3_600_000_000)
    finally:
        await engine.dispose()


async def test_a_busy_ledger_is_green(database: Database, traffic: Traffic) -> None:
    await traffic.run(REQUESTS)
    report = await report_of(database)
    assert report.ok, failed(report.checks)
    looked_at = {check.name: check.looked_at for check in report.checks}
    assert looked_at["holds_are_resolved_once"] > 20
    assert looked_at["burnt_ids_are_not_booked"] > 20


async def test_a_proof_beside_traffic_sees_one_moment(database: Database, traffic: Traffic) -> None:
    running = asyncio.create_task(traffic.run(REQUESTS))
    reports = []
    while not running.done():
        reports.append(await report_of(database))
    await running
    assert all(report.ok for report in reports), [failed(r.checks) for r in reports]
    assert len({report.transfers for report in reports}) > 1
