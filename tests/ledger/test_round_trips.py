"""What a batch of plain transfers asks the database for: as little as can be, and never less."""

from collections.abc import AsyncIterator

import pytest
from asyncpg import LockNotAvailableError

from tests.factories.ledger import (
    account,
    codes,
    fund,
    open_accounts,
    open_connection,
    pending,
    transfer,
    void,
)
from tests.factories.moments import NOW_US
from tests.servers import Database
from wallet.core.clock import TestClock
from wallet.core.database import Connection, connect
from wallet.core.ids import new_id
from wallet.ledger import storage
from wallet.ledger.rules import ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS
from wallet.ledger.teller import Teller

GUARDED = ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS
PLAIN = ["BEGIN", "SELECT account_id", "WITH booked", "COMMIT"]
UNUSUAL = [
    "BEGIN", "SELECT account_id", "ROLLBACK AND CHAIN", "SELECT scopes", "SELECT id",
    "SELECT account_id",
]  # fmt: skip


@pytest.fixture
def asked() -> list[str]:
    """The statements that the teller has sent; each by its first words."""
    return []


@pytest.fixture
def clock() -> TestClock:
    """A clock that stands until it is advanced."""
    return TestClock(NOW_US)


@pytest.fixture
async def teller(
    module_database: Database, asked: list[str], clock: TestClock
) -> AsyncIterator[Teller]:
    """A teller of one lane that is listened to."""

    async def connect_and_listen() -> Connection:
        connection = await connect(module_database.application_url, application_name="tests")
        connection.add_query_logger(lambda record: asked.append(record.query.strip()))
        return connection

    teller = Teller(connect=connect_and_listen, clock=clock, lanes=1)
    await teller.start()
    yield teller
    await teller.close()


def begin_with(asked: list[str], expected: list[str]) -> bool:
    """Whether the statements begin as expected, one after another."""
    return [said[: len(words)] for said, words in zip(asked, expected, strict=False)] == expected


async def test_plain_transfers_take_one_look_one_write_and_the_commit(
    teller: Teller, asked: list[str]
) -> None:
    payer, payee = await open_accounts(teller, account(flags=GUARDED), account(flags=GUARDED))
    await fund(teller, payer)
    asked.clear()
    assert await codes(teller, transfer(payer, payee, 5), transfer(payee, payer, 5)) == (
        ["created", "created"]
    )
    assert len(asked) == len(PLAIN)
    assert begin_with(asked, PLAIN)


async def test_a_repeat_is_looked_up_in_good_order(teller: Teller, asked: list[str]) -> None:
    payer, payee = await open_accounts(teller, account(flags=GUARDED), account(flags=GUARDED))
    await fund(teller, payer)
    booked, refused = transfer(payer, payee, 5), transfer(payee, payer, 6)
    assert await codes(teller, booked, refused) == ["created", "exceeds_credits"]
    for repeat, code in ((booked, "exists"), (refused, "id_already_failed")):
        asked.clear()
        assert await codes(teller, transfer(payer, payee, 1), repeat) == ["created", code]
        assert begin_with(asked, UNUSUAL)


async def test_a_hold_that_runs_out_frees_its_money_for_the_very_next_batch(
    teller: Teller, asked: list[str], clock: TestClock
) -> None:
    payer, payee = await open_accounts(teller, account(flags=GUARDED), account(flags=GUARDED))
    await fund(teller, payer, 100)
    hold = pending(payer, payee, 100, timeout_s=60)
    assert await codes(teller, hold) == ["created"]
    assert await codes(teller, transfer(payer, payee, 1)) == ["exceeds_credits"]
    clock.advance(seconds=61)
    asked.clear()
    assert await codes(teller, transfer(payer, payee, 100)) == ["created"]
    assert begin_with(asked, UNUSUAL[:4])
    assert await codes(teller, void(hold)) == ["pending_transfer_expired"]


async def test_a_stop_of_anything_is_looked_at_in_good_order(
    module_database: Database, teller: Teller, asked: list[str]
) -> None:
    payer, payee = await open_accounts(teller, account(flags=GUARDED), account(flags=GUARDED))
    await fund(teller, payer)
    async with open_connection(module_database.owner_url) as owner:
        await owner.execute("UPDATE stop_control SET scopes = '{programme:none}'")
        asked.clear()
        assert await codes(teller, transfer(payer, payee, 5)) == ["created"]
        assert begin_with(asked, UNUSUAL)
        await owner.execute("UPDATE stop_control SET scopes = '{}'")


async def test_a_stop_waits_for_a_batch_that_has_only_looked(
    module_database: Database, teller: Teller
) -> None:
    payer, payee = await open_accounts(teller, account(), account())
    url = module_database.application_url
    async with open_connection(url) as batch, open_connection(url) as stop:
        await storage.begin(batch)
        looked = await storage.lock_and_look(
            batch, [payer, payee], [new_id(now_us=NOW_US)], now_us=NOW_US
        )
        assert looked is not None
        with pytest.raises(LockNotAvailableError):
            async with stop.transaction():
                await stop.execute("LOCK TABLE stop_control IN EXCLUSIVE MODE NOWAIT")
        await storage.begin_anew(batch)
        async with stop.transaction():
            await stop.execute("LOCK TABLE stop_control IN EXCLUSIVE MODE NOWAIT")
