"""What was paid and is still to be fulfilled: the worker's list, by purpose."""

from collections.abc import Collection
from typing import Final
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.core.clock import to_datetime, to_microseconds
from wallet.ledger.rules import NIL
from wallet.receipts.rules import Method, Purpose

_TAKE: Final = text("""
SELECT id, reference_id, programme_id, amount_yen, method, paid_at, card_key
FROM receipt_order
WHERE state = 'paid' AND settled_at IS NULL AND purpose = :purpose AND id > :after
ORDER BY id LIMIT :limit
""")

_MARK: Final = text("""
UPDATE receipt_order SET settled_at = :now
WHERE id = ANY(:ids) AND state = 'paid' AND settled_at IS NULL
""")


class PaidOrder(msgspec.Struct, frozen=True, kw_only=True):
    """An order whose money has come; ``card_key`` tells one card from another, and no more."""

    id: UUID
    reference_id: UUID
    programme_id: UUID
    amount_yen: int
    method: Method
    paid_us: int
    card_key: bytes | None


async def take_paid(
    connection: AsyncConnection,
    *,
    purpose: Purpose,
    limit: int,
    after: UUID = NIL,
) -> list[PaidOrder]:
    """Return paid orders of a purpose that nobody has marked as settled, oldest first.

    Nothing is locked: two workers may be given the same order, and must fulfil it under the same
    id. What cannot be fulfilled now is given again; ``after`` passes over it within one round.
    """
    values = {"purpose": purpose, "limit": limit, "after": after}
    return [
        PaidOrder(
            id=row.id,
            reference_id=row.reference_id,
            programme_id=row.programme_id,
            amount_yen=row.amount_yen,
            method=Method(row.method),
            paid_us=to_microseconds(row.paid_at),
            card_key=row.card_key,
        )
        for row in await connection.execute(_TAKE, values)
    ]


async def mark_settled(
    connection: AsyncConnection, *, order_ids: Collection[UUID], now_us: int
) -> int:
    """Note that what was paid for has been given, and return how many were not marked before."""
    values = {"ids": list(order_ids), "now": to_datetime(now_us)}
    return (await connection.execute(_MARK, values)).rowcount
