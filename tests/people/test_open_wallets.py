"""Wallets are opened once, empty, with the row their spending is counted in."""

from collections.abc import AsyncIterator
from datetime import date

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.factories.moments import NOW_US, japanese
from tests.factories.people import make_wallet
from tests.servers import Database
from wallet.core.database import make_engine, read, write
from wallet.core.ids import new_id
from wallet.people.open_wallets import NewWallet, open_wallets

WALLET = text("""
SELECT w.holder, w.state, w.payment_limit_yen, w.daily_limit_yen, s.spent_on, s.spent_yen
FROM wallet AS w JOIN spending AS s ON s.holder_id = w.id WHERE w.id = :id
""")
COUNT = text("SELECT count(*) FROM wallet")
SPEND = text("UPDATE spending SET spent_yen = 700 WHERE holder_id = :id")


@pytest.fixture
async def engine(module_database: Database) -> AsyncIterator[AsyncEngine]:
    """Yield an engine on the module's city."""
    engine = make_engine(module_database.application_url, pool_size=2, application_name="tests")
    yield engine
    await engine.dispose()


async def test_a_new_wallet_is_active_with_its_limits_and_nothing_spent(
    engine: AsyncEngine,
) -> None:
    resident = await make_wallet(engine)
    visitor = await make_wallet(engine, holder="visitor", payment_limit_yen=5, daily_limit_yen=6)
    async with read(engine) as connection:
        found = [(await connection.execute(WALLET, {"id": i})).one() for i in (resident, visitor)]
    day = date(2026, 11, 25)
    assert found == [
        ("resident", "active", 100_000, 300_000, day, 0),
        ("visitor", "active", 5, 6, day, 0),
    ]


async def test_opening_again_counts_only_the_new_and_leaves_the_old_alone(
    engine: AsyncEngine,
) -> None:
    old, new = (NewWallet(new_id(now_us=NOW_US)) for _ in range(2))
    assert await open_wallets(engine, wallets=[old], now_us=NOW_US) == 1
    await write(engine, lambda connection: connection.execute(SPEND, {"id": old.id}))
    later_us = japanese("2026-11-26T09:00:00")
    changed = NewWallet(old.id, "visitor", 1, 1)
    assert await open_wallets(engine, wallets=[changed, new, new], now_us=later_us) == 1
    async with read(engine) as connection:
        row = (await connection.execute(WALLET, {"id": old.id})).one()
    assert row == ("resident", "active", 100_000, 300_000, date(2026, 11, 25), 700)


async def test_no_wallet_of_a_transaction_is_opened_when_one_is_impossible(
    engine: AsyncEngine,
) -> None:
    async with read(engine) as connection:
        before = (await connection.execute(COUNT)).scalar_one()
    wallets = [NewWallet(new_id(now_us=NOW_US), holder=holder) for holder in ("resident", "ghost")]
    with pytest.raises(IntegrityError, match="ck_wallet_holder"):
        await open_wallets(engine, wallets=wallets, now_us=NOW_US)
    async with read(engine) as connection:
        assert (await connection.execute(COUNT)).scalar_one() == before
