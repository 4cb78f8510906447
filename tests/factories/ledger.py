"""Accounts, transfers, and tellers to settle them on the real tables."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final
from uuid import UUID

import asyncpg

from tests.factories.moments import NOW_US
from wallet.core.clock import Clock, TestClock
from wallet.core.database import Connection, connect
from wallet.core.ids import new_id
from wallet.ledger.create import create_accounts, create_transfers
from wallet.ledger.rules import (
    AMOUNT_MAX,
    NIL,
    PENDING,
    POST_PENDING,
    VOID_PENDING,
    Account,
    AccountCode,
    Transfer,
)
from wallet.ledger.teller import Teller

NOBODY: Final = UUID(int=0xFF)
"""The id of an account that no test opens."""


def account(**fields: Any) -> Account:  # noqa: ANN401
    """Return an account under an id of its own that nothing limits, except for ``fields``."""
    return Account(**{"id": new_id(now_us=NOW_US), "ledger": 1, "code": 1, **fields})


def transfer(debit: UUID, credit: UUID, amount: int = 100, **fields: Any) -> Transfer:  # noqa: ANN401
    """Return a transfer under an id of its own."""
    plain = {"id": new_id(now_us=NOW_US), "ledger": 1, "code": 1}
    return Transfer(
        **{
            **plain,
            "debit_account_id": debit,
            "credit_account_id": credit,
            "amount": amount,
            **fields,
        }
    )


def pending(debit: UUID, credit: UUID, amount: int = 100, **fields: Any) -> Transfer:  # noqa: ANN401
    """Return a pending transfer; further flags go into ``more``."""
    more = fields.pop("more", 0)
    return transfer(debit, credit, amount, flags=PENDING | more, **fields)


def post(hold: Transfer, amount: int = AMOUNT_MAX, **fields: Any) -> Transfer:  # noqa: ANN401
    """Return a post of the hold that inherits everything but its amount."""
    return transfer(
        NIL, NIL, amount,
        **{"ledger": 0, "code": 0, "flags": POST_PENDING, "pending_id": hold.id, **fields},
    )  # fmt: skip


def void(hold: Transfer, **fields: Any) -> Transfer:  # noqa: ANN401
    """Return a void of the hold that inherits everything."""
    return post(hold, 0, **{"flags": VOID_PENDING, **fields})


@asynccontextmanager
async def open_teller(
    database_url: str, *, clock: Clock | None = None, lanes: int = 1, **bounds: int
) -> AsyncIterator[Teller]:
    """Yield a running teller, closed afterwards; its lanes get into each other's way at once."""
    teller = Teller(
        connect=lambda: connect(database_url, application_name="tests"),
        clock=clock or TestClock(NOW_US),
        lanes=lanes,
        **{"alone_max": 0, **bounds},
    )
    await teller.start()
    try:
        yield teller
    finally:
        await teller.close()


@asynccontextmanager
async def open_connection(database_url: str) -> AsyncIterator[Connection]:
    """Yield a connection as whoever the URL names."""
    connection: Connection = await asyncpg.connect(database_url)
    try:
        yield connection
    finally:
        await connection.close()


async def open_accounts(teller: Teller, *accounts: Account) -> list[UUID]:
    """Open the accounts and return their ids, or fail the test."""
    results = await create_accounts(teller, accounts)
    assert {result.code for result in results} == {AccountCode.CREATED}, results
    return [one.id for one in accounts]


async def codes(teller: Teller, *transfers: Transfer) -> list[str]:
    """Create the transfers as one request and return the results' codes."""
    return [str(result.code) for result in await create_transfers(teller, transfers)]


async def fund(teller: Teller, account_id: UUID, amount: int = 1_000) -> UUID:
    """Put an amount into an account from a new one that nothing limits, and return its id."""
    (source,) = await open_accounts(teller, account())
    assert await codes(teller, transfer(source, account_id, amount)) == ["created"]
    return source


async def counters(connection: Connection, account_id: UUID) -> tuple[int, int, int, int]:
    """Return debits pending and posted, then credits pending and posted, as they are stored."""
    row: Sequence[int] | None = await connection.fetchrow(
        "SELECT debits_pending, debits_posted, credits_pending, credits_posted"
        " FROM balance WHERE account_id = $1",
        account_id,
    )
    assert row is not None
    return row[0], row[1], row[2], row[3]


async def count(connection: Connection, ids: Sequence[UUID]) -> int:
    """Return how many of the transfers are stored."""
    found: int = await connection.fetchval(
        "SELECT count(*) FROM transfer WHERE id = ANY($1::uuid[])", list(ids)
    )
    return found
