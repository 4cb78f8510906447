"""Reads of receipts: what came in, and what is in suspense and waits for somebody to look at it."""

from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.ledger.rules import MAX_ID

RECEIPTS_SHOWN_MAX: Final = 100

# A receipt is in at most one settlement that was not refused.
_LIST: Final = text("""
SELECT r.id, r.provider, r.provider_event, r.provider_reference, r.order_id, r.amount_yen,
       r.suspended_yen, r.suspended_because, r.received_at, r.noted_at, s.id AS settlement_id,
       s.way, s.state AS settlement_state,
       CASE WHEN r.suspended_yen = 0 THEN 'matched'
            WHEN s.state = 'done' THEN 'settled' ELSE 'suspense' END AS state
FROM receipt AS r
LEFT JOIN LATERAL (
    SELECT s.id, s.way, s.state FROM suspense_settlement_receipt AS i
    JOIN suspense_settlement AS s ON s.id = i.settlement_id
    WHERE i.receipt_id = r.id AND s.state <> 'refused' LIMIT 1
) AS s ON true
WHERE r.id < :before AND (NOT :only_open OR r.suspended_yen > 0 AND s.id IS NULL)
ORDER BY r.id DESC LIMIT :limit
""")

_TOTALS: Final = text("""
SELECT r.suspended_because AS because, count(*) AS receipts,
       sum(r.suspended_yen)::bigint AS amount_yen, min(r.received_at) AS oldest_at
FROM receipt AS r
WHERE r.suspended_yen > 0 AND NOT EXISTS (
    SELECT FROM suspense_settlement_receipt AS i
    JOIN suspense_settlement AS s ON s.id = i.settlement_id
    WHERE i.receipt_id = r.id AND s.state <> 'refused')
GROUP BY r.suspended_because ORDER BY r.suspended_because
""")

_HELD: Final = text("""
SELECT p.id, p.held_because, p.price_yen, o.paid_at
FROM receipt_order AS o JOIN purchase AS p ON p.id = o.reference_id
WHERE o.state = 'paid' AND o.settled_at IS NULL AND o.purpose = 'voucher'
  AND p.held_because IS NOT NULL
ORDER BY o.id LIMIT :limit
""")


class ReceiptRow(msgspec.Struct, frozen=True, kw_only=True):
    """A receipt as the office sees it; ``state`` is matched, suspense or settled."""

    id: UUID
    provider: str
    provider_event: str
    provider_reference: str
    order_id: UUID | None
    amount_yen: int
    suspended_yen: int
    suspended_because: str | None
    received_at: datetime
    noted_at: datetime
    settlement_id: UUID | None
    way: str | None
    settlement_state: str | None
    state: str


class SuspenseTotal(msgspec.Struct, frozen=True, kw_only=True):
    """What is on the work list for one reason, and since when the oldest of it."""

    because: str
    receipts: int
    amount_yen: int
    oldest_at: datetime


class HeldPurchase(msgspec.Struct, frozen=True, kw_only=True):
    """A purchase that is paid for and could not be issued yet, and the last reason."""

    id: UUID
    held_because: str
    price_yen: int
    paid_at: datetime


async def list_receipts(
    connection: AsyncConnection, *, only_open: bool, before: UUID | None, limit: int
) -> list[ReceiptRow]:
    """Return receipts, newest first; with ``only_open`` those that wait to be decided on."""
    values = {
        "only_open": only_open,
        "before": before or MAX_ID,
        "limit": min(limit, RECEIPTS_SHOWN_MAX + 1),
    }
    return [ReceiptRow(**row) for row in (await connection.execute(_LIST, values)).mappings()]


async def add_up_suspense(connection: AsyncConnection) -> list[SuspenseTotal]:
    """Return what waits to be decided on, by reason."""
    return [SuspenseTotal(**row) for row in (await connection.execute(_TOTALS)).mappings()]


async def list_held(connection: AsyncConnection) -> list[HeldPurchase]:
    """Return what is paid for and held, the longest first."""
    rows = (await connection.execute(_HELD, {"limit": RECEIPTS_SHOWN_MAX})).mappings()
    return [HeldPurchase(**row) for row in rows]
