"""Reads of payments for those who paid: what is in their wallets, and what they spent where."""

from collections.abc import Sequence
from datetime import date
from functools import lru_cache
from typing import Final
from uuid import UUID

import msgspec
from sqlalchemy.ext.asyncio import AsyncEngine

from wallet.core.database import Connection
from wallet.ledger.chart import TRANSFER_PAYMENT
from wallet.payments.queries import read_raw
from wallet.payments.rules import Payment
from wallet.payments.storage import load_payments
from wallet.programmes.rules import Programme, Purse, in_spending_order
from wallet.programmes.terms import Terms

HISTORY_MAX: Final = 50

PROGRAMMES_KEPT_MAX: Final = 256
"""Programmes that are kept as they were read, in one process."""

# JSON as text, because SQLAlchemy teaches its connections to decode it.
_PURSES = """
SELECT p.wallet_id, b.credits_posted - b.debits_posted - b.debits_pending, p.account_id,
       p.programme_id, p.funding, p.expires_on, g.number, g.code, g.version, g.terms::text,
       g.clearing_account_id, g.budget_account_id
FROM purse AS p
JOIN programme AS g ON g.id = p.programme_id
JOIN balance AS b ON b.account_id = p.account_id
WHERE p.wallet_id = ANY($1::uuid[]) AND p.ended_at IS NULL AND p.expires_on >= $2
"""

# A payment takes at most one leg from each purse, so the newest payments of a wallet are among the
# newest legs of its purses. Its legs follow each other at once: the first says where it stands.
_PAID = """
SELECT leg.payment_id, min(leg.timestamp) AS at
FROM purse AS p
CROSS JOIN LATERAL (
    SELECT user_data_128 AS payment_id, timestamp FROM transfer
    WHERE debit_account_id = p.account_id AND timestamp < $2 AND code = $3
    ORDER BY timestamp DESC LIMIT $4
) AS leg
WHERE p.wallet_id = $1
GROUP BY leg.payment_id ORDER BY at DESC LIMIT $4
"""

_SHOPS = "SELECT id, name FROM shop WHERE id = ANY($1::uuid[])"

_END: Final = 2**63 - 1


class PurseSeen(msgspec.Struct, frozen=True):
    """What is in a purse of a wallet, in yen."""

    wallet_id: UUID
    programme: str
    name: str | None
    funding: str
    expires_on: date
    available_yen: int


class Spent(msgspec.Struct, frozen=True):
    """A payment as its payer sees it; ``position`` is where the next page begins."""

    payment: Payment
    shop: str
    position: int


async def list_purses(
    engine: AsyncEngine, *, wallet_ids: Sequence[UUID], day: date
) -> list[PurseSeen]:
    """Return the wallets' purses that hold something good on ``day``, in the order of spending.

    Where not all of them may be spent, the others are drawn on in the same order.
    """

    async def look_up(connection: Connection) -> list[PurseSeen]:
        held: dict[UUID, tuple[UUID, int]] = {}
        purses: list[Purse] = []
        programmes: dict[UUID, Programme] = {}
        for wallet_id, yen, *row in await connection.fetch(_PURSES, list(wallet_ids), day):
            if yen:
                purse = Purse(*row[:4])
                purses.append(purse)
                held[purse.account_id] = wallet_id, yen
                programmes[purse.programme_id] = _programme(purse.programme_id, *row[4:])
        return [
            _seen(one, programmes[one.programme_id], *held[one.account_id])
            for one in in_spending_order(purses, programmes)
        ]

    return await read_raw(engine, look_up)


def _seen(purse: Purse, programme: Programme, wallet_id: UUID, yen: int) -> PurseSeen:
    return PurseSeen(
        wallet_id, programme.code, programme.name, purse.funding, purse.expires_on, yen
    )


@lru_cache(maxsize=PROGRAMMES_KEPT_MAX)
def _programme(
    programme_id: UUID,
    number: int,
    code: str,
    version: int,
    terms: str,
    clearing_account_id: UUID,
    budget_account_id: UUID,
) -> Programme:
    """Return a programme as it is stored; the same row is read once."""
    parsed = msgspec.json.decode(terms, type=Terms)
    return Programme(
        id=programme_id,
        number=number,
        code=code,
        name=parsed.name,
        version=version,
        terms=parsed,
        spending=parsed.spending,
        frame=parsed.frame,
        clearing_account_id=clearing_account_id,
        budget_account_id=budget_account_id,
    )


async def list_spent(
    engine: AsyncEngine, *, wallet_id: UUID, before: int | None, limit: int
) -> list[Spent]:
    """Return up to ``limit`` of the wallet's payments, newest first, from a position on.

    Raises ValueError when ``limit`` is not 1 to :data:`HISTORY_MAX` + 1.
    """
    if not 1 <= limit <= HISTORY_MAX + 1:
        message = f"a page has 1 to {HISTORY_MAX} payments, not {limit}"
        raise ValueError(message)

    async def look_up(connection: Connection) -> list[Spent]:
        last = _END if before is None else before
        rows = await connection.fetch(_PAID, wallet_id, last, TRANSFER_PAYMENT, limit)
        payments = await load_payments(connection, [row[0] for row in rows]) if rows else {}
        shop_ids = {one.shop_id for one in payments.values()}
        shops = {row[0]: row[1] for row in await connection.fetch(_SHOPS, list(shop_ids))}
        return [Spent(payments[row[0]], shops[payments[row[0]].shop_id], row[1]) for row in rows]

    return await read_raw(engine, look_up)
