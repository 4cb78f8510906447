"""The order of locks: batches of several processes wait for each other, and never in a ring."""

import asyncio
from collections.abc import Callable
from itertools import permutations
from uuid import UUID, uuid4

import pytest
from msgspec.structs import replace

from tests.factories.ledger import (
    account,
    codes,
    count,
    counters,
    fund,
    open_accounts,
    open_connection,
    open_teller,
    pending,
    post,
    transfer,
    void,
)
from tests.factories.moments import NOW_US
from tests.ledger.invariants import check_ledger, read_tables
from tests.ledger.meeting import WAITERS, meet, two_tellers
from tests.patience import until
from tests.servers import Database
from wallet.core.clock import TestClock
from wallet.core.database import Connection
from wallet.core.ids import new_id
from wallet.ledger import storage
from wallet.ledger.rules import (
    ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS,
    BALANCING_DEBIT,
    Transfer,
)

GUARDED = ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """One entry for each time that a batch was begun; one more than batches after a deadlock."""
    begun: list[None] = []
    begin = storage.begin

    async def count_and_begin(connection: Connection) -> None:
        begun.append(None)
        await begin(connection)

    monkeypatch.setattr(storage, "begin", count_and_begin)
    return begun


async def test_accounts_with_limits_are_locked_before_those_without(
    module_database: Database,
    monkeypatch: pytest.MonkeyPatch,
    connection: Connection,
    attempts: list[None],
) -> None:
    """The shop's id is smaller, and one batch needs its balance while the other adds to it."""
    async with two_tellers(module_database) as (first, second, _):
        shop_id, payer_id = sorted(new_id(now_us=NOW_US) for _ in range(2))
        shop, payer = await open_accounts(
            first, account(id=shop_id), account(id=payer_id, flags=GUARDED)
        )
        await fund(first, payer)
        assert await codes(first, transfer(payer, shop)) == ["created"]
        attempts.clear()
        await meet(
            monkeypatch,
            connection,
            codes(first, transfer(payer, shop)),
            codes(second, transfer(shop, payer, 1, flags=BALANCING_DEBIT)),
        )
        assert len(attempts) == 2


async def test_accounts_without_limits_are_locked_in_the_order_of_their_ids(
    module_database: Database,
    monkeypatch: pytest.MonkeyPatch,
    connection: Connection,
    attempts: list[None],
) -> None:
    """One batch needs the balance of the last and adds to the first; the other adds to both."""
    async with two_tellers(module_database) as (first, second, _):
        ids = sorted(new_id(now_us=NOW_US) for _ in range(4))
        low, high, source, sink = await open_accounts(first, *(account(id=one) for one in ids))
        known = [transfer(source, one) for one in (low, high, sink)]
        for teller in (first, second):
            answers = await codes(teller, *(replace(one, id=uuid4()) for one in known))
            assert answers == ["created"] * 3
        attempts.clear()
        await meet(
            monkeypatch,
            connection,
            codes(first, transfer(high, sink, flags=BALANCING_DEBIT), transfer(source, low)),
            codes(second, transfer(source, low), transfer(source, high)),
        )
        assert len(attempts) == 2


async def test_accounts_that_are_only_added_to_are_touched_in_the_order_of_their_ids(
    module_database: Database, connection: Connection, attempts: list[None]
) -> None:
    """Whatever the order of the transfers: somebody else has the first one locked meanwhile."""
    async with two_tellers(module_database) as (first, second, _):
        ids = sorted(new_id(now_us=NOW_US) for _ in range(3))
        low, high, source = await open_accounts(first, *(account(id=one) for one in ids))
        to_low, to_high = transfer(source, low), transfer(source, high)
        for teller in (first, second):
            known = [replace(one, id=uuid4()) for one in (to_low, to_high)]
            assert await codes(teller, *known) == ["created"] * 2
        attempts.clear()
        waiting: list[asyncio.Task[list[str]]] = []
        async with open_connection(module_database.application_url) as other, other.transaction():
            await other.execute("SELECT FROM balance WHERE account_id = $1 FOR UPDATE", low)
            for teller, asked in ((first, [to_low, to_high]), (second, [to_high, to_low])):
                moved = [replace(one, id=uuid4()) for one in asked]
                waiting.append(asyncio.create_task(codes(teller, *moved)))
                await until(lambda: connection.fetchval(WAITERS, len(waiting)))
        assert await asyncio.gather(*waiting) == [["created"] * 2] * 2
        assert len(attempts) == 2


async def deadlocks(connection: Connection) -> int:
    """Return how many deadlocks the server has broken in this database."""
    found: int = await connection.fetchval(
        "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    )
    return found


Crowd = Callable[[list[UUID], list[UUID]], list[Transfer]]


def opposite(guarded: list[UUID], hot: list[UUID]) -> list[Transfer]:
    """Transfers between all pairs of accounts with limits, there and back."""
    del hot
    return [transfer(debit, credit, 1) for debit, credit in permutations(guarded, 2)]


def crossing(guarded: list[UUID], hot: list[UUID]) -> list[Transfer]:
    """Hot accounts that some add to blindly while others need their balances."""
    adding = [transfer(payer, shop, 1) for payer in guarded for shop in hot]
    reading = [transfer(shop, payer, 1, flags=BALANCING_DEBIT) for shop in hot for payer in guarded]
    return [one for pair in zip(adding, reading, strict=True) for one in pair]


def holding(guarded: list[UUID], hot: list[UUID]) -> list[Transfer]:
    """Holds, and their resolutions, on accounts of both kinds."""
    holds = [pending(payer, shop, 1) for payer in guarded for shop in hot]
    return [one for hold in holds for one in (hold, post(hold), void(hold))]


@pytest.mark.asvs("v5.0.0-15.4.3")
@pytest.mark.parametrize("crowd", [opposite, crossing, holding])
async def test_tellers_at_full_speed_never_deadlock(database: Database, crowd: Crowd) -> None:
    url = database.application_url
    async with open_teller(url, lanes=2) as first, open_teller(url, lanes=2) as second:
        guarded = await open_accounts(first, *(account(flags=GUARDED) for _ in range(6)))
        hot = await open_accounts(first, *(account() for _ in range(3)))
        for one in guarded:
            await fund(first, one, 10_000)
        for teller in (first, second):  # Let both learn which accounts are open.
            assert await codes(teller, *(transfer(hot[0], one, 0) for one in hot[1:]))
        for _ in range(6):
            asked = crowd(guarded, hot)
            calls = [
                codes(teller, one)
                for number, one in enumerate(asked)
                for teller in ((first, second) if number % 2 else (second, first))
            ]
            answers = [code for (code,) in await asyncio.gather(*calls)]
            assert answers.count("created") >= len(asked) // 3
    async with open_connection(database.owner_url) as owner:
        check_ledger(await read_tables(owner), tellers=2)
        assert await deadlocks(owner) == 0


async def test_holds_that_run_out_under_load_are_released_once(database: Database) -> None:
    """Both tellers find the same holds due while they resolve some of them themselves."""
    clock, url = TestClock(NOW_US), database.application_url
    async with (
        open_teller(url, clock=clock, lanes=2) as first,
        open_teller(url, clock=clock, lanes=2) as second,
    ):
        payer, payee = await open_accounts(first, account(flags=GUARDED), account())
        await fund(first, payer, 10_000)
        for _ in range(4):
            holds = [pending(payer, payee, 1, timeout_s=1) for _ in range(40)]
            assert await codes(first, *holds) == ["created"] * 40
            clock.advance(seconds=2)
            calls = [codes(teller, post(hold)) for hold in holds for teller in (first, second)]
            answers = {code for (code,) in await asyncio.gather(*calls)}
            assert answers == {"pending_transfer_expired"}
    async with open_connection(database.owner_url) as owner:
        tables = await read_tables(owner)
        check_ledger(tables, tellers=2)
        assert {hold["state"] for hold in tables.holds.values()} == {"expired"}
        assert await counters(owner, payer) == (0, 0, 0, 10_000)
        assert await deadlocks(owner) == 0


@pytest.mark.attack(27)
async def test_money_is_spent_once_however_many_ask_for_it(database: Database) -> None:
    url = database.application_url
    async with open_teller(url, lanes=2) as first, open_teller(url, lanes=2) as second:
        payer, payee = await open_accounts(first, account(flags=GUARDED), account())
        await fund(first, payer, 50)
        asked = [transfer(payer, payee, 1) for _ in range(80)]
        calls = [codes(teller, one) for one in asked for teller in (first, second)]
        answers = [code for (code,) in await asyncio.gather(*calls)]
    assert answers.count("created") == 50
    async with open_connection(database.owner_url) as owner:
        assert await count(owner, [one.id for one in asked]) == 50
        assert await counters(owner, payer) == (0, 50, 0, 50)
        check_ledger(await read_tables(owner), tellers=2)
