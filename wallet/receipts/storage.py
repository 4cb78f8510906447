"""The SQL of receipts that the teller's batches run: every look-up is by key."""

from collections.abc import Collection, Sequence
from typing import Any, Final
from uuid import UUID

import asyncpg
import msgspec

from wallet.core.clock import to_datetime
from wallet.core.database import Connection
from wallet.receipts.rules import Order, Share

_LOCK_BY_REFERENCE: Final = """
SELECT provider_reference, id, purpose, reference_id, amount_yen, shares, method, state
FROM receipt_order
WHERE provider_reference = ANY($1::text[]) ORDER BY id FOR NO KEY UPDATE
"""

_LOCK_BY_ID: Final = """
SELECT id, purpose, reference_id, amount_yen, shares, method, state FROM receipt_order
WHERE id = ANY($1::uuid[]) ORDER BY id FOR NO KEY UPDATE
"""

_FIND_PROGRAMMES: Final = """
SELECT id, number, clearing_account_id FROM programme WHERE id = ANY($1::uuid[])
"""

_FIND_RECEIPTS: Final = """
SELECT r.provider, r.provider_event, r.id, r.provider_reference, r.order_id, r.amount_yen,
       r.suspended_yen, r.suspended_because
FROM unnest($1::text[], $2::text[]) AS asked (provider, provider_event)
JOIN receipt AS r ON r.provider = asked.provider AND r.provider_event = asked.provider_event
"""

_INSERT_RECEIPTS: Final = """
INSERT INTO receipt (id, provider, provider_event, provider_reference, order_id, amount_yen,
                     suspended_yen, suspended_because, received_at, noted_at)
SELECT new.*, $10::timestamptz
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::uuid[], $6::bigint[],
            $7::bigint[], $8::text[], $9::timestamptz[]) AS new
"""

_PAY_ORDERS: Final = """
UPDATE receipt_order AS o SET state = 'paid', paid_at = new.paid_at, card_key = new.card_key
FROM unnest($1::uuid[], $2::timestamptz[], $3::bytea[]) AS new (id, paid_at, card_key)
WHERE o.id = new.id
"""


class ProgrammeAccount(msgspec.Struct, frozen=True, gc=False):
    """Where a programme's money is received, and the number that marks its transfers."""

    number: int
    clearing_account_id: UUID


class Noted(msgspec.Struct, frozen=True, gc=False):
    """A receipt that stands in its table."""

    id: UUID
    reference: str
    order_id: UUID | None
    amount_yen: int
    suspended_yen: int
    because: str | None


class NewReceipt(msgspec.Struct, frozen=True, kw_only=True):
    """A receipt as it is written."""

    id: UUID
    provider: str
    provider_event: str
    reference: str
    order_id: UUID | None
    amount_yen: int
    suspended_yen: int
    because: str | None
    received_us: int


class Payment(msgspec.Struct, frozen=True, gc=False):
    """That an order was paid, when, and by which card."""

    order_id: UUID
    paid_us: int
    card_key: bytes | None


async def lock_by_reference(
    connection: Connection, references: Collection[str]
) -> dict[str, Order]:
    """Lock the orders that bear the references, by id, and return those that exist."""
    rows = await connection.fetch(_LOCK_BY_REFERENCE, list(references))
    return {row["provider_reference"]: _order(row) for row in rows}


async def lock_by_id(connection: Connection, order_ids: Collection[UUID]) -> dict[UUID, Order]:
    """Lock the orders, by id, and return those that exist."""
    rows = await connection.fetch(_LOCK_BY_ID, list(order_ids))
    return {row["id"]: _order(row) for row in rows}


async def find_programmes(
    connection: Connection, orders: Collection[Order]
) -> dict[UUID, ProgrammeAccount]:
    """Return the accounts of every programme that one of the orders is for."""
    ids = {share.programme_id for order in orders for share in order.shares}
    rows = await connection.fetch(_FIND_PROGRAMMES, list(ids)) if ids else []
    return {row["id"]: ProgrammeAccount(row["number"], row["clearing_account_id"]) for row in rows}


async def find_receipts(
    connection: Connection, events: Collection[tuple[str, str]]
) -> dict[tuple[str, str], Noted]:
    """Return those of the providers' events that were noted before."""
    rows = await connection.fetch(
        _FIND_RECEIPTS, [provider for provider, _ in events], [event for _, event in events]
    )
    return {(row[0], row[1]): Noted(*row[2:]) for row in map(tuple, rows)}


async def insert_receipts(
    connection: Connection, receipts: Sequence[NewReceipt], *, now_us: int
) -> None:
    """Write the receipts in one statement."""
    if receipts:
        await connection.execute(
            _INSERT_RECEIPTS,
            [one.id for one in receipts],
            [one.provider for one in receipts],
            [one.provider_event for one in receipts],
            [one.reference for one in receipts],
            [one.order_id for one in receipts],
            [one.amount_yen for one in receipts],
            [one.suspended_yen for one in receipts],
            [one.because for one in receipts],
            [to_datetime(one.received_us) for one in receipts],
            to_datetime(now_us),
        )


async def pay_orders(connection: Connection, payments: Sequence[Payment]) -> None:
    """Note on locked orders that they were paid."""
    if payments:
        await connection.execute(
            _PAY_ORDERS,
            [one.order_id for one in payments],
            [to_datetime(one.paid_us) for one in payments],
            [one.card_key for one in payments],
        )


def _order(row: asyncpg.Record) -> Order:
    shares: list[Any] = msgspec.json.decode(row["shares"])
    return Order(
        id=row["id"],
        purpose=row["purpose"],
        reference_id=row["reference_id"],
        amount_yen=row["amount_yen"],
        shares=tuple(Share(UUID(programme), amount_yen) for programme, amount_yen in shares),
        method=row["method"],
        state=row["state"],
    )
