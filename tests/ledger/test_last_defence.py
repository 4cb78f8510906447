"""The database as the last defence: what it refuses whoever asks for it."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from tests.factories.city import make_city
from tests.factories.ledger import (
    NOBODY,
    account,
    codes,
    open_accounts,
    open_connection,
    pending,
    post,
    transfer,
    void,
)
from tests.factories.payments import by_code, engage, pay
from tests.servers import Database
from wallet.core.database import Connection
from wallet.core.ids import new_id

WRITTEN_ONCE = [
    "account",
    "burnt_transfer",
    "idempotency_key",
    "outbox",
    "payment",
    "seal",
    "stop_event",
    "transfer",
]


SEALING = """
INSERT INTO seal (number, from_timestamp, to_timestamp, transfers, previous_hash, hash,
                  fingerprints, sealed_at)
VALUES ({}, {}, {}, 0, '', '', '', 1)
"""
OPENING = """
INSERT INTO account (id, ledger, code, flags, user_data_64, user_data_32, timestamp)
VALUES (gen_random_uuid(), {}, {}, 0, 0, 0, 1)
"""


@pytest.fixture(scope="module")
def city(module_database: Database) -> Database:
    """Leave at least one row in every table that is written once."""
    asyncio.run(make_history(module_database))
    return module_database


async def make_history(database: Database) -> None:
    """Pay, fail, hold, post, void, seal and stop."""
    async with make_city(database.application_url) as city:
        await pay(city, by_code(city, city.code))
        payer, payee = await open_accounts(city.teller, account(), account())
        posted, voided = pending(payer, payee), pending(payer, payee)
        asked = [transfer(payer, NOBODY), posted, post(posted), voided, void(voided)]
        asked.append(pending(payer, payee))
        failed, *booked = await codes(city.teller, *asked)
        assert failed == "credit_account_not_found"
        assert set(booked) == {"created"}
        await engage(city, "issue")
    async with open_connection(database.owner_url) as owner:
        await owner.execute(SEALING.format(1, 0, 1))


@pytest.fixture
async def application(city: Database) -> AsyncIterator[Connection]:
    """A connection of the application's role to a database with something in each table."""
    async with open_connection(city.application_url) as connection:
        yield connection


@pytest.fixture
async def master(city: Database) -> AsyncIterator[Connection]:
    """A connection of the tables' owner, to whom no right is denied."""
    async with open_connection(city.owner_url) as connection:
        yield connection


async def some_column(connection: Connection, table: str) -> str:
    """Return the name of a column of the table."""
    name: str = await connection.fetchval(
        "SELECT attname FROM pg_attribute WHERE attrelid = $1::text::regclass"
        " ORDER BY attnum DESC LIMIT 1",
        table,
    )
    return name


async def attempts_on(connection: Connection, table: str) -> list[str]:
    """Return the three ways to make written rows untrue."""
    column = await some_column(connection, table)
    return [
        f"UPDATE {table} SET {column} = {column}",  # noqa: S608 - names of this test
        f"DELETE FROM {table}",  # noqa: S608
        f"TRUNCATE {table} CASCADE",
    ]


@pytest.mark.attack(28)
@pytest.mark.asvs("v5.0.0-13.2.2")
@pytest.mark.parametrize("table", WRITTEN_ONCE)
async def test_the_application_has_no_right_to_change_what_is_written_once(
    application: Connection, table: str
) -> None:
    assert await application.fetchval(f"SELECT count(*) FROM {table}") > 0  # noqa: S608
    for statement in await attempts_on(application, table):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await application.execute(statement)


@pytest.mark.attack(28)
@pytest.mark.parametrize("table", WRITTEN_ONCE)
async def test_not_even_the_owner_changes_what_is_written_once(
    master: Connection, table: str
) -> None:
    for statement in await attempts_on(master, table):
        with pytest.raises(asyncpg.RestrictViolationError, match=r"rows of \w+ are never changed"):
            await master.execute(statement)


@pytest.mark.parametrize("statement", ["UPDATE {} SET amount = 1", "DELETE FROM {}", "TRUNCATE {}"])
async def test_a_month_of_transfers_is_guarded_like_the_whole(
    application: Connection, master: Connection, statement: str
) -> None:
    month = await master.fetchval("SELECT tableoid::regclass::text FROM transfer LIMIT 1")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await application.execute(statement.format(month))
    with pytest.raises(asyncpg.RestrictViolationError):
        await master.execute(statement.format(month))


@pytest.mark.parametrize("table", ["balance", "pending_transfer", "stop_control"])
async def test_the_application_removes_nothing_that_it_may_change(
    application: Connection, table: str
) -> None:
    for statement in (f"DELETE FROM {table}", f"TRUNCATE {table}"):  # noqa: S608
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await application.execute(statement)


@pytest.mark.parametrize("resolved", ["posted", "voided"])
@pytest.mark.parametrize(
    "change",
    [
        "state = 'pending', resolved_at = NULL",
        "state = 'posted'",
        "state = 'voided'",
        "state = 'expired', resolved_at = 1",
        "resolved_at = 1",
        "expires_at = 1",
    ],
)
async def test_a_hold_is_resolved_once_and_stays_so(
    application: Connection, resolved: str, change: str
) -> None:
    with pytest.raises(asyncpg.RestrictViolationError, match=f"is already {resolved}"):
        await application.execute(
            f"UPDATE pending_transfer SET {change} WHERE state = '{resolved}'"  # noqa: S608
        )


async def test_a_resolution_is_not_moved_to_another_hold(application: Connection) -> None:
    with pytest.raises(asyncpg.RestrictViolationError):
        await application.execute(
            "UPDATE pending_transfer SET transfer_id = $1 WHERE state = 'pending'", new_id(now_us=1)
        )


def balance(**columns: object) -> str:
    """Return a statement that opens an account and a balance with these columns."""
    plain: dict[str, object] = {
        "flags": 0,
        "min_available": "NULL",
        "max_balance": "NULL",
        "debits_pending": 0,
        "debits_posted": 0,
        "credits_pending": 0,
        "credits_posted": 0,
    }
    names, values = zip(*{**plain, **columns}.items(), strict=True)
    return (
        f"WITH opened AS ({OPENING.format(1, 1)} RETURNING id)"  # noqa: S608
        " INSERT INTO balance (account_id, ledger, code, closed, last_timestamp, transfer_count,"
        f" {', '.join(names)})"
        f" SELECT id, 1, 1, false, 1, 0, {', '.join(map(str, values))} FROM opened"
    )


def booking(**columns: object) -> str:
    """Return a statement that books a transfer with these columns."""
    plain: dict[str, object] = {
        "id": "gen_random_uuid()",
        "debit_account_id": "gen_random_uuid()",
        "credit_account_id": "gen_random_uuid()",
        "amount": 1,
    }
    names, values = zip(*{**plain, **columns}.items(), strict=True)
    return (
        f"INSERT INTO transfer ({', '.join(names)}, ledger, code, flags, user_data_64,"  # noqa: S608
        f" user_data_32, timeout_s, timestamp)"
        f" VALUES ({', '.join(map(str, values))}, 1, 1, 0, 0, 0, 0, 1)"
    )


def hold(state: str, resolved_at: str) -> str:
    """Return a statement that writes what became of a hold."""
    return f"INSERT INTO pending_transfer VALUES (gen_random_uuid(), '{state}', 1, {resolved_at})"  # noqa: S608


SAME = "'00000000-0000-0000-0000-000000000001'"


@pytest.mark.attack(27)
@pytest.mark.parametrize(
    ("statement", "constraint"),
    [
        (balance(debits_pending=-1), "counters_not_negative"),
        (balance(debits_posted=-1), "counters_not_negative"),
        (balance(credits_pending=-1), "counters_not_negative"),
        (balance(credits_posted=-1), "counters_not_negative"),
        (balance(flags=2, debits_posted=6, credits_posted=5), "debits_within_credits"),
        (
            balance(flags=2, debits_pending=1, debits_posted=5, credits_posted=5),
            "debits_within_credits",
        ),
        (balance(flags=4, debits_posted=5, credits_posted=6), "credits_within_debits"),
        (
            balance(flags=4, debits_posted=5, credits_pending=1, credits_posted=5),
            "credits_within_debits",
        ),
        (balance(min_available=0, debits_posted=1), "min_available"),
        (balance(min_available=-5, debits_pending=6), "min_available"),
        (balance(min_available=3, debits_posted=1, credits_posted=3), "min_available"),
        (balance(max_balance=5, credits_posted=6), "max_balance"),
        (balance(max_balance=5, credits_pending=6), "max_balance"),
        (booking(amount=-1), "amount_not_negative"),
        (booking(debit_account_id=SAME, credit_account_id=SAME), "two_accounts"),
        (hold("captured", "1"), "state"),
        (hold("pending", "1"), "resolved_once"),
        (hold("posted", "NULL"), "resolved_once"),
        ("UPDATE stop_control SET id = 2", "one_row"),
        (
            "INSERT INTO stop_event VALUES (gen_random_uuid(), 'all', 'pause', 'a', 'b', now())",
            "action",
        ),
        (
            "INSERT INTO stop_event VALUES (gen_random_uuid(), 'all', 'engage', 'a', '', now())",
            "reason",
        ),
        (SEALING.format(9, 2, 2), "range"),
        (OPENING.format(0, 1), "ledger_and_code"),
        (OPENING.format(1, 0), "ledger_and_code"),
    ],
)
async def test_what_no_ledger_can_contain_is_refused_by_name(
    master: Connection, statement: str, constraint: str
) -> None:
    with pytest.raises(asyncpg.CheckViolationError) as refused:
        await master.execute(statement)
    name = refused.value.as_dict()["constraint_name"]
    assert name.endswith(f"_{constraint}")


@pytest.mark.parametrize(
    "statement",
    [
        balance(flags=2, debits_pending=2, debits_posted=3, credits_posted=5),
        balance(flags=4, debits_posted=5, credits_pending=2, credits_posted=3),
        balance(min_available=3),
        balance(min_available=-5, debits_posted=5),
        balance(max_balance=5, credits_pending=2, credits_posted=4, debits_posted=1),
        booking(amount=0),
        hold("pending", "NULL"),
    ],
)
async def test_the_limits_themselves_are_allowed(master: Connection, statement: str) -> None:
    async with master.transaction():
        await master.execute(statement)


async def test_an_id_is_booked_once_wherever_it_is_kept(master: Connection) -> None:
    for identifier in (new_id(now_us=1_795_000_000_000_000), NOBODY):
        statement = booking(id=f"'{identifier}'")
        await master.execute(statement)
        with pytest.raises(asyncpg.UniqueViolationError):
            await master.execute(statement)


async def test_a_balance_belongs_to_an_account(master: Connection) -> None:
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await master.execute(
            "INSERT INTO balance SELECT gen_random_uuid(), ledger, code, flags, NULL, NULL, false,"
            " 0, 0, 0, 0, 1, 0 FROM account LIMIT 1"
        )
