"""Settle suspense: money that matched nothing pays an order after all, or goes back to its payer.

Two people decide it (:func:`decide_settlement` writes it down); the worker moves the money. That
no receipt is settled twice is held by the ledger: what becomes of it is booked under ids that
follow from its own.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Final, Literal
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from wallet.core.clock import Clock, to_datetime, to_microseconds
from wallet.core.database import Connection, read
from wallet.core.ids import new_id, numbered_id
from wallet.core.money import LEDGER_JPY
from wallet.core.outbox import Event, append
from wallet.core.refusals import RefusedError
from wallet.ledger.bulk import bulk_teller
from wallet.ledger.chart import TRANSFER_SUSPENSE_SETTLED
from wallet.ledger.rules import Transfer
from wallet.ledger.work import Batch, Facts
from wallet.receipts.note_receipt import book_chain
from wallet.receipts.rules import (
    RECEIPTS_ACCOUNT_IDS,
    SETTLED_NUMBER,
    SUSPENSE_ACCOUNT_ID,
    Order,
    fill,
)
from wallet.receipts.storage import (
    Payment,
    ProgrammeAccount,
    find_programmes,
    lock_by_id,
    pay_orders,
)

RECEIPTS_MAX: Final = 10
"""Receipts that one settlement may be about."""

SETTLED_PER_ROUND: Final = 100

Way = Literal["order", "return"]

# What stands on the work list: suspended, and in no settlement that was done or still may be.
_FIND_OPEN: Final = text("""
SELECT r.id, r.suspended_yen FROM receipt AS r
WHERE r.id = ANY(:ids) AND r.suspended_yen > 0 AND NOT EXISTS (
    SELECT FROM suspense_settlement_receipt AS i
    JOIN suspense_settlement AS s ON s.id = i.settlement_id
    WHERE i.receipt_id = r.id AND s.state <> 'refused')
""")

_FIND_ORDER: Final = text("SELECT amount_yen, state FROM receipt_order WHERE id = :id")

_INSERT: Final = text("""
INSERT INTO suspense_settlement (id, way, order_id, decided_by, decided_at, state)
VALUES (:id, :way, :order_id, :decided_by, :now, 'decided')
""")

_INSERT_RECEIPTS: Final = text("""
INSERT INTO suspense_settlement_receipt (settlement_id, receipt_id)
SELECT :id, receipt_id FROM unnest(CAST(:receipt_ids AS uuid[])) AS new (receipt_id)
""")

_DUE: Final = text("""
SELECT id FROM suspense_settlement WHERE state = 'decided' ORDER BY id LIMIT :limit
""")

_LOCK: Final = """
SELECT id, way, order_id, state FROM suspense_settlement
WHERE id = ANY($1::uuid[]) ORDER BY id FOR NO KEY UPDATE
"""

# OFFSET 0 and ANY (ARRAY[...]) leave nothing but look-ups by key, as everywhere on the money path.
_FIND_RECEIPTS: Final = """
SELECT i.settlement_id, r.id, r.provider, r.suspended_yen, r.received_at,
       EXISTS (SELECT FROM suspense_settlement_receipt AS j
               CROSS JOIN LATERAL (SELECT state FROM suspense_settlement
                                   WHERE id = j.settlement_id OFFSET 0) AS s
               WHERE j.receipt_id = r.id AND s.state = 'done') AS settled
FROM unnest($1::uuid[]) AS asked (id)
CROSS JOIN LATERAL (
    SELECT settlement_id, receipt_id FROM suspense_settlement_receipt
    WHERE settlement_id = asked.id OFFSET 0
) AS i
JOIN receipt AS r ON r.id = ANY (ARRAY[i.receipt_id])
ORDER BY r.id
"""

_RESOLVE: Final = """
UPDATE suspense_settlement AS s
SET state = new.state, refused_because = new.because, done_at = $4
FROM unnest($1::uuid[], $2::text[], $3::text[]) AS new (id, state, because)
WHERE s.id = new.id
"""


class Settlement(msgspec.Struct, frozen=True, kw_only=True):
    """What was decided of receipts in suspense; ``order_id`` None sends them back."""

    receipt_ids: tuple[UUID, ...]
    order_id: UUID | None
    decided_by: str

    @property
    def way(self) -> Way:
        """Where the money goes."""
        return "return" if self.order_id is None else "order"


class SettleSuspense(msgspec.Struct, frozen=True):
    """The settlement to carry out."""

    settlement_id: UUID


class Settled(msgspec.Struct, frozen=True, gc=False):
    """What came of it; ``because`` is why it was refused, for good unless everything is stopped."""

    settlement_id: UUID
    because: str | None


class _Suspended(msgspec.Struct, frozen=True):
    id: UUID
    provider: str
    suspended_yen: int
    received_us: int
    settled: bool


class _Row(msgspec.Struct, frozen=True):
    id: UUID
    way: str
    order_id: UUID | None
    state: str


class SettleFacts(Facts):
    """Settlements with their receipts and orders; the decisions add to them."""

    __slots__ = (
        "done_receipts",
        "orders",
        "payments",
        "programmes",
        "receipts",
        "resolved",
        "rows",
    )

    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[UUID, _Row] = {}
        self.receipts: dict[UUID, list[_Suspended]] = {}
        self.orders: dict[UUID, Order] = {}
        self.programmes: dict[UUID, ProgrammeAccount] = {}
        self.done_receipts: set[UUID] = set()
        self.payments: list[Payment] = []
        self.resolved: list[tuple[UUID, str | None]] = []


class Settle:
    """The kind of work behind :data:`SETTLE`."""

    async def gather(
        self, connection: Connection, requests: Sequence[SettleSuspense], now_us: int
    ) -> SettleFacts:
        """Lock the settlements and then their orders; then the accounts are known."""
        del now_us
        facts = SettleFacts()
        rows = await connection.fetch(_LOCK, [request.settlement_id for request in requests])
        facts.rows = {row["id"]: _Row(*tuple(row)) for row in rows}
        facts.orders = await lock_by_id(
            connection, {row.order_id for row in facts.rows.values() if row.order_id is not None}
        )
        for settlement_id, one, provider, yen, received_at, settled in await connection.fetch(
            _FIND_RECEIPTS, list(facts.rows)
        ):
            receipt = _Suspended(one, provider, yen, to_microseconds(received_at), settled)
            facts.receipts.setdefault(settlement_id, []).append(receipt)
            facts.added_ids.add(RECEIPTS_ACCOUNT_IDS[provider])
        facts.programmes = await find_programmes(connection, facts.orders.values())
        for programme in facts.programmes.values():
            facts.added_ids.add(programme.clearing_account_id)
        facts.account_ids.add(SUSPENSE_ACCOUNT_ID)
        return facts

    def decide(self, request: SettleSuspense, facts: SettleFacts, batch: Batch) -> Settled:
        """Decide one settlement against the book; while everything is stopped it stays decided."""
        row = facts.rows[request.settlement_id]
        if row.state != "decided":
            return Settled(row.id, None)
        if "all" in batch.stops:
            return Settled(row.id, "service_stopped")
        receipts = facts.receipts[row.id]
        because = _refuse(row, receipts, facts)
        if because is None:
            _book(row, receipts, facts, batch)
        facts.resolved.append((row.id, because))
        facts.rows[row.id] = msgspec.structs.replace(row, state="done")
        return Settled(row.id, because)

    async def record(
        self, connection: Connection, facts: SettleFacts, answers: Sequence[Any], batch: Batch
    ) -> None:
        """Write what became of the settlements, the orders they have paid, and the events."""
        del answers
        now = to_datetime(batch.now_us)
        states = ["refused" if because else "done" for _, because in facts.resolved]
        reasons = [because for _, because in facts.resolved]
        ids = [settlement_id for settlement_id, _ in facts.resolved]
        await connection.execute(_RESOLVE, ids, states, reasons, now)
        await pay_orders(connection, facts.payments)
        events = [
            Event(
                settlement_id,
                "suspense.settled" if because is None else "suspense.settlement_refused",
                msgspec.json.encode({"settlement_id": settlement_id, "because": because}).decode(),
            )
            for settlement_id, because in facts.resolved
        ]
        await append(connection, events=events, now=now)


SETTLE: Final = Settle()
"""The kind of work that settles suspense."""


async def decide_settlement(
    connection: AsyncConnection, *, settlement: Settlement, now_us: int
) -> UUID:
    """Write down what two people have decided, for the worker to carry out, and return its id.

    Raises :class:`RefusedError` ``receipt_not_suspended``, ``receipt_order_unknown``,
    ``receipt_order_over`` and ``suspense_amount_differs``.
    """
    await check_settlement(connection, settlement=settlement)
    settlement_id = new_id(now_us=now_us)
    values = {
        "id": settlement_id,
        "way": settlement.way,
        "order_id": settlement.order_id,
        "decided_by": settlement.decided_by,
        "now": to_datetime(now_us),
    }
    await connection.execute(_INSERT, values)
    receipts = {"id": settlement_id, "receipt_ids": list(settlement.receipt_ids)}
    await connection.execute(_INSERT_RECEIPTS, receipts)
    return settlement_id


async def check_settlement(connection: AsyncConnection, *, settlement: Settlement) -> None:
    """Raise what :func:`decide_settlement` raises, before anybody is asked to agree."""
    ids = list(settlement.receipt_ids)
    found = (await connection.execute(_FIND_OPEN, {"ids": ids})).all()
    if len(found) < len(set(ids)) or not ids:
        raise RefusedError("receipt_not_suspended")
    if settlement.order_id is None:
        return
    order = (await connection.execute(_FIND_ORDER, {"id": settlement.order_id})).one_or_none()
    if order is None:
        raise RefusedError("receipt_order_unknown")
    if order.state != "waiting":
        raise RefusedError("receipt_order_over")
    suspended_yen = sum(row.suspended_yen for row in found)
    if suspended_yen != order.amount_yen:
        raise RefusedError(
            "suspense_amount_differs", suspended_yen=suspended_yen, amount_yen=order.amount_yen
        )


async def settle_due(engine: AsyncEngine, *, database_url: str, clock: Clock) -> int:
    """Carry out what was decided, :data:`SETTLED_PER_ROUND` at most; return how many there were."""
    async with read(engine) as connection:
        due = (await connection.execute(_DUE, {"limit": SETTLED_PER_ROUND})).scalars().all()
    if due:
        async with bulk_teller(database_url, clock=clock) as teller:
            await asyncio.gather(*[teller.submit(SETTLE, SettleSuspense(one)) for one in due])
    return len(due)


def _refuse(row: _Row, receipts: Sequence[_Suspended], facts: SettleFacts) -> str | None:
    if any(one.settled or one.id in facts.done_receipts for one in receipts):
        return "receipt_not_suspended"
    if row.order_id is None:
        return None
    order = facts.orders[row.order_id]
    if order.state != "waiting":
        return "receipt_order_over"
    total_yen = sum(one.suspended_yen for one in receipts)
    return None if total_yen == order.amount_yen else "suspense_amount_differs"


def _book(row: _Row, receipts: Sequence[_Suspended], facts: SettleFacts, batch: Batch) -> None:
    facts.done_receipts.update(one.id for one in receipts)
    if row.order_id is None:
        book_chain([_returned(one) for one in receipts], batch)
        return
    order = facts.orders[row.order_id]
    pieces = fill([one.suspended_yen for one in receipts], order.shares)
    transfers = [
        Transfer(
            numbered_id(receipt.id, SETTLED_NUMBER + number),
            SUSPENSE_ACCOUNT_ID,
            facts.programmes[piece.programme_id].clearing_account_id,
            piece.amount_yen,
            LEDGER_JPY,
            TRANSFER_SUSPENSE_SETTLED,
            user_data_128=order.id,
            user_data_32=facts.programmes[piece.programme_id].number,
        )
        for receipt, filled in zip(receipts, pieces, strict=True)
        for number, piece in enumerate(filled)
    ]
    book_chain(transfers, batch)
    paid_us = max(one.received_us for one in receipts)
    facts.payments.append(Payment(order.id, paid_us, None))
    facts.orders[order.id] = msgspec.structs.replace(order, state="paid")


def _returned(receipt: _Suspended) -> Transfer:
    return Transfer(
        numbered_id(receipt.id, SETTLED_NUMBER),
        SUSPENSE_ACCOUNT_ID,
        RECEIPTS_ACCOUNT_IDS[receipt.provider],
        receipt.suspended_yen,
        LEDGER_JPY,
        TRANSFER_SUSPENSE_SETTLED,
        user_data_128=receipt.id,
    )
