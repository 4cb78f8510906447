"""Reads of payments for those who paid: what is in their wallets, and what they spent where."""

from collections.abc import Sequence
from datetime import date
from typing import Final
from uuid import UUID

import msgspec
from sqlalchemy.ext.asyncio import AsyncEngine

from wallet.core.database import Connection
from wallet.ledger.chart import TRANSFER_PAYMENT
from wallet.payments.queries import read_raw
from wallet.payments.rules import Payment
from wallet.payments.storage import load_payments

HISTORY_MAX: Final = 50

_PURSES = """
SELECT p.wallet_id, g.code, g.terms ->> 'name', p.funding, p.expires_on,
       b.credits_posted - b.debits_posted - b.debits_pending
FROM purse AS p
JOIN programme AS g ON g.id = p.programme_id
JOIN balance AS b ON b.account_id = p.account_id
WHERE p.wallet_id = ANY($1::uuid[])
ORDER BY p.wallet_id, p.expires_on, g.code, p.funding
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


async def list_purses(engine: AsyncEngine, *, wallet_ids: Sequence[UUID]) -> list[PurseSeen]:
    """Return the wallets' purses that hold something, those that expire first in front."""

    async def look_up(connection: Connection) -> list[PurseSeen]:
        rows = await connection.fetch(_PURSES, list(wallet_ids))
        return [PurseSeen(*row) for row in map(tuple, rows)]

    return [one for one in await read_raw(engine, look_up) if one.available_yen]


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
