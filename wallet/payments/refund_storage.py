"""The SQL of refunding: payments with what has come back of them, and the refunds themselves.

As in :mod:`wallet.payments.storage`, every look-up can only be made by key.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec
from msgspec.structs import replace

from wallet.core.database import Connection, array_literal
from wallet.ledger.chart import TRANSFER_MOVE
from wallet.payments.refund_rules import Leg, Refund, RefundPart, RefundRequest, Target
from wallet.payments.rules import COUPON_NUMBER

_FIND_PAID: Final = """
SELECT p.id, p.merchant_id, p.wallet_id, p.amount_yen, p.instrument, p.state = 'succeeded',
       s.payable_account_id
FROM payment AS p JOIN shop AS s ON s.id = ANY (ARRAY[p.shop_id])
WHERE p.id = ANY($1::uuid[]) AND p.wallet_id IS NOT NULL
"""

# A payment's transfers have its id + 1 … + 15, of which the last few are bonuses; a refund's have
# the same numbers as those they give back.
_FIND_LEGS: Final = """
SELECT asked.id, t.id, t.debit_account_id, t.amount, t.timestamp, false
FROM unnest($1::uuid[], $2::uuid[]) AS asked (id, last_id)
CROSS JOIN LATERAL (
    SELECT id, debit_account_id, amount, timestamp FROM transfer
    WHERE transfer.id > asked.id AND transfer.id <= asked.last_id OFFSET 0
) AS t
UNION ALL
SELECT asked.id, t.id, t.debit_account_id, t.amount, NULL, true
FROM unnest($1::uuid[]) AS asked (id)
JOIN refund AS r ON r.payment_id = ANY (ARRAY[asked.id])
CROSS JOIN LATERAL (
    SELECT id, debit_account_id, amount FROM transfer
    WHERE transfer.id > r.id
      AND transfer.id <= CAST(left(CAST(r.id AS text), 35) || 'f' AS uuid) OFFSET 0
) AS t
"""

# Where money of a purse would be by now, had it been there at a moment: an extension moves all of
# it into another purse of the later day. Eight in a row is more than any programme is extended.
_FIND_MOVES: Final = """
WITH RECURSIVE went AS (
    SELECT n, account_id, since, 0 AS hops
    FROM unnest($1::uuid[], $2::bigint[]) WITH ORDINALITY AS asked (account_id, since, n)
    UNION ALL
    SELECT went.n, t.credit_account_id, t.timestamp, went.hops + 1
    FROM went CROSS JOIN LATERAL (
        SELECT credit_account_id, timestamp FROM transfer
        WHERE debit_account_id = went.account_id AND timestamp > went.since AND code = $3
        ORDER BY timestamp LIMIT 1
    ) AS t
    WHERE went.hops < 8
)
SELECT DISTINCT ON (n) n, account_id FROM went ORDER BY n, hops DESC
"""

_FIND_REFUNDS: Final = """
SELECT r.id, r.payment_id, r.merchant_id, r.merchant_refund_id, r.amount_yen, r.reason,
       r.bonus_taken_yen, r.bonus_missing_yen, r.created_at
FROM unnest($1::uuid[], $2::text[]) AS asked (merchant_id, merchant_refund_id)
JOIN refund AS r ON r.merchant_id = ANY (ARRAY[asked.merchant_id])
    AND r.merchant_refund_id = ANY (ARRAY[asked.merchant_refund_id])
"""

# In the order in which they were given back, a coupon's last.
_FIND_PARTS: Final = """
SELECT asked.id, coalesce(g.code, b.code), p.funding, t.amount, p.account_id IS NOT NULL
FROM unnest($1::uuid[], $2::uuid[]) AS asked (id, last_id)
CROSS JOIN LATERAL (
    SELECT id, credit_account_id, amount, user_data_32 FROM transfer
    WHERE transfer.id > asked.id AND transfer.id <= asked.last_id OFFSET 0
) AS t
LEFT JOIN purse AS p ON p.account_id = ANY (ARRAY[t.credit_account_id])
LEFT JOIN programme AS g ON g.id = ANY (ARRAY[p.programme_id])
LEFT JOIN programme AS b ON b.number = ANY (ARRAY[t.user_data_32])
ORDER BY funding IS NULL, t.id DESC
"""

_FIND_PROGRAMMES: Final = """
SELECT id, version FROM programme
WHERE id = ANY($1::uuid[]) OR budget_account_id = ANY($2::uuid[])
"""

_INSERT: Final = """
WITH new AS (
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text::bigint[],
                         $6::text[], $7::text::bigint[], $8::text::bigint[])
    AS t (id, payment_id, merchant_id, merchant_refund_id, amount_yen, reason, bonus_taken_yen,
          bonus_missing_yen)
), told AS (
    INSERT INTO outbox (event_id, kind, body, created_at)
    SELECT id, 'payment.refunded',
           jsonb_build_object('refund_id', id, 'payment_id', payment_id,
                              'merchant_id', merchant_id,
                              'merchant_refund_id', merchant_refund_id,
                              'amount_yen', amount_yen), $9
    FROM new
)
INSERT INTO refund (id, payment_id, merchant_id, merchant_refund_id, amount_yen, reason,
                    bonus_taken_yen, bonus_missing_yen, created_at)
SELECT id, payment_id, merchant_id, merchant_refund_id, amount_yen, reason, bonus_taken_yen,
       bonus_missing_yen, $9
FROM new
"""

_NUMBER_BITS: Final = 15


class Paid(msgspec.Struct, frozen=True, gc=False):
    """A payment as far as giving it back needs it."""

    id: UUID
    merchant_id: UUID
    wallet_id: UUID
    amount_yen: int
    instrument: str
    is_succeeded: bool
    payable_account_id: UUID


async def find_paid(connection: Connection, payment_ids: Collection[UUID]) -> dict[UUID, Paid]:
    """Return those payments that are somebody's, by id."""
    rows = await connection.fetch(_FIND_PAID, list(payment_ids))
    return {row[0]: Paid(*row) for row in rows}


async def find_legs(connection: Connection, payment_ids: Sequence[UUID]) -> dict[UUID, list[Leg]]:
    """Return what each payment was made of, with what has come back of it."""
    last_ids = [_last_id(one) for one in payment_ids]
    legs: dict[UUID, dict[int, Leg]] = {one: {} for one in payment_ids}
    returned: list[tuple[UUID, int, int]] = []
    for payment_id, transfer_id, debit_id, amount_yen, at_us, is_refund in await connection.fetch(
        _FIND_LEGS, payment_ids, last_ids
    ):
        number = transfer_id.int & _NUMBER_BITS
        if number > COUPON_NUMBER:
            continue
        if is_refund:
            returned.append((payment_id, number, amount_yen))
        else:
            legs[payment_id][number] = Leg(number, debit_id, amount_yen, at_us=at_us)
    for payment_id, number, amount_yen in returned:
        leg = legs[payment_id][number]
        legs[payment_id][number] = replace(leg, refunded_yen=leg.refunded_yen + amount_yen)
    return {payment_id: list(numbered.values()) for payment_id, numbered in legs.items()}


async def find_moves(connection: Connection, legs: Sequence[Leg]) -> dict[Leg, UUID]:
    """Return in which account the money of each leg would be by now, had it not been paid."""
    rows = await connection.fetch(
        _FIND_MOVES, [leg.account_id for leg in legs], [leg.at_us for leg in legs], TRANSFER_MOVE
    )
    return {legs[number - 1]: account_id for number, account_id in rows}


async def find_refunds(
    connection: Connection, requests: Sequence[RefundRequest]
) -> dict[tuple[UUID, str], Refund]:
    """Return the refunds that merchants have asked for by the same names before."""
    rows = await connection.fetch(
        _FIND_REFUNDS,
        [request.merchant_id for request in requests],
        [request.merchant_refund_id for request in requests],
    )
    if not rows:
        return {}
    ids = [row[0] for row in rows]
    parts: dict[UUID, list[RefundPart]] = {}
    for refund_id, programme, funding, amount_yen, to_purse in await connection.fetch(
        _FIND_PARTS, ids, [_last_part_id(one) for one in ids]
    ):
        target = Target.PURSE if to_purse else Target.BUDGET
        parts.setdefault(refund_id, []).append(RefundPart(programme, funding, amount_yen, target))
    return {
        (row[2], row[3]): replace(Refund(*row), parts=tuple(parts.get(row[0], ()))) for row in rows
    }


async def find_programmes(
    connection: Connection, programme_ids: Collection[UUID], legs: Mapping[UUID, Sequence[Leg]]
) -> dict[UUID, int]:
    """Return the versions of programmes, and of those whose budgets have paid for coupons."""
    budgets = {leg.account_id for one in legs.values() for leg in one if leg.is_coupon}
    return dict(await connection.fetch(_FIND_PROGRAMMES, list(programme_ids), list(budgets)))


async def insert_refunds(
    connection: Connection, refunds: Sequence[Refund], *, now: datetime
) -> None:
    """Write refunds with their events."""
    await connection.execute(
        _INSERT,
        [one.id for one in refunds],
        [one.payment_id for one in refunds],
        [one.merchant_id for one in refunds],
        [one.merchant_refund_id for one in refunds],
        array_literal(one.amount_yen for one in refunds),
        [one.reason for one in refunds],
        array_literal(one.bonus_taken_yen for one in refunds),
        array_literal(one.bonus_missing_yen for one in refunds),
        now,
    )


def _last_id(aligned: UUID) -> UUID:
    return UUID(int=aligned.int | _NUMBER_BITS)


def _last_part_id(refund_id: UUID) -> UUID:
    """Return the last id of a refund's own transfers; those after it take bonuses back."""
    return UUID(int=refund_id.int | COUPON_NUMBER)
