"""What shops do with their takings: pay another shop, or have them leave as a bank transfer.

Two of the office order, the worker moves: an order is a row that is moved once, under ids that
follow from its own. Takings are what the city owes a shop; nobody ever gives away more than that.
Only shops cash out: for a holder it would be a refund, which the law forbids (Payment Services Act,
Art. 20(5)), and no order can name a wallet. A bank transfer is made by whoever settles; here the
money is set aside for it.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from wallet.core.clock import to_datetime
from wallet.core.database import Connection, read
from wallet.core.ids import align_id, new_id, numbered_id
from wallet.core.money import LEDGER_JPY
from wallet.core.outbox import Event, append
from wallet.core.refusals import Refusal, RefusedError
from wallet.ledger.chart import (
    ACCOUNT_CASH_OUT,
    TRANSFER_CASH_OUT,
    TRANSFER_SHOP_TO_SHOP,
)
from wallet.ledger.rules import Account, AccountCode, Transfer, TransferCode
from wallet.ledger.storage import Prior, find_accounts
from wallet.ledger.teller import Teller
from wallet.ledger.work import Batch, Facts
from wallet.ops.rules import ScopeKind, matches

CASH_OUT_ACCOUNT_ID: Final = UUID("00000000-0000-7000-8000-000000000015")
"""Where takings go that leave: one account per city, under an id that is always the same."""

ORDERS_PER_ROUND: Final = 500

MOVED: Final = "takings.moved"
REFUSED: Final = "takings.refused"

_INSERT = text("""
INSERT INTO takings_order (id, shop_id, to_shop_id, amount_yen, state, ordered_by, ordered_at)
VALUES (:id, :shop_id, :to_shop_id, :amount_yen, 'ordered', :ordered_by, :now)
""")

_SHOPS = text("SELECT count(*) FROM shop WHERE id = ANY(CAST(:ids AS uuid[]))")

_DUE = text("""
SELECT id FROM takings_order WHERE state = 'ordered' ORDER BY id LIMIT :most
""")

_LOCK_ORDERS: Final = """
SELECT o.id, o.shop_id, o.to_shop_id, o.amount_yen, o.state, s.merchant_id, m.state,
       s.payable_account_id, r.merchant_id, n.state, r.payable_account_id
FROM takings_order AS o
JOIN shop AS s ON s.id = ANY (ARRAY[o.shop_id])
JOIN merchant AS m ON m.id = ANY (ARRAY[s.merchant_id])
LEFT JOIN shop AS r ON r.id = ANY (ARRAY[o.to_shop_id])
LEFT JOIN merchant AS n ON n.id = ANY (ARRAY[r.merchant_id])
WHERE o.id = ANY($1::uuid[]) ORDER BY o.id FOR NO KEY UPDATE OF o
"""

_DECIDE: Final = """
UPDATE takings_order AS o
SET state = new.state, refused_because = new.refused_because, decided_at = $4
FROM unnest($1::uuid[], $2::text[], $3::text[]) AS new (id, state, refused_because)
WHERE o.id = ANY (ARRAY[new.id])
"""

_LIST = text("""
SELECT id, shop_id, to_shop_id, amount_yen, state, refused_because, ordered_by, ordered_at,
       decided_at
FROM takings_order WHERE CAST(:before AS uuid) IS NULL OR id < :before
ORDER BY id DESC LIMIT :limit
""")

_encode: Final = msgspec.json.Encoder().encode


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What is to happen to a shop's takings; without ``to_shop_id`` they leave."""

    id: UUID
    shop_id: UUID
    to_shop_id: UUID | None
    amount_yen: int
    state: Literal["ordered", "moved", "refused"]
    refused_because: str | None
    ordered_by: UUID
    ordered_at: datetime
    decided_at: datetime | None


class _Side(msgspec.Struct, frozen=True, gc=False):
    """A shop of an order: whose it is, whether they may do business, and its takings."""

    merchant_id: UUID
    is_active: bool
    payable_account_id: UUID


class _Due(msgspec.Struct, frozen=True, gc=False):
    """An order as a batch finds it."""

    id: UUID
    amount_yen: int
    state: str
    payer: _Side
    payee: _Side | None


class TakingsFacts(Facts):
    """What a batch of orders needs to know."""

    __slots__ = ("decided", "orders")

    def __init__(self) -> None:
        super().__init__()
        self.orders: dict[UUID, _Due] = {}
        self.decided: dict[UUID, str | None] = {}


class MoveTakings:
    """The kind of work behind :data:`MOVE_TAKINGS`; a request is the id of an order."""

    async def gather(
        self, connection: Connection, requests: Sequence[UUID], now_us: int
    ) -> TakingsFacts:
        """Lock the orders, and find the accounts of their shops."""
        del now_us
        facts = TakingsFacts()
        for row in await connection.fetch(_LOCK_ORDERS, list(requests)):
            due = _due_from(row)
            facts.orders[due.id] = due
            facts.account_ids.add(due.payer.payable_account_id)
            if due.payee is not None:
                facts.account_ids.add(due.payee.payable_account_id)
        facts.account_ids.add(CASH_OUT_ACCOUNT_ID)
        facts.prior = Prior(accounts=await find_accounts(connection, [CASH_OUT_ACCOUNT_ID]))
        return facts

    def decide(self, request: UUID, facts: TakingsFacts, batch: Batch) -> Refusal | None:
        """Move one order's money; None when it was moved, now or before."""
        due = facts.orders.get(request)
        if due is None:
            return Refusal("takings_order_unknown")
        if due.state != "ordered" or request in facts.decided:
            return None
        kind = ScopeKind.CASH_OUT if due.payee is None else ScopeKind.PAY
        if batch.stops and _is_stopped(due, kind, batch.stops):
            return Refusal("service_stopped")  # It stays ordered, and is moved another time.
        refusal = _refuse(due, batch)
        facts.decided[due.id] = None if refusal is None else refusal.code
        if refusal is None:
            _book(due, batch)
        return refusal

    async def record(
        self, connection: Connection, facts: TakingsFacts, answers: Sequence[Any], batch: Batch
    ) -> None:
        """Write what has become of the orders."""
        del answers
        if not facts.decided:
            return
        now = to_datetime(batch.now_us)
        because = list(facts.decided.values())
        states = ["moved" if one is None else "refused" for one in because]
        await connection.execute(_DECIDE, list(facts.decided), states, because, now)
        events = [_event(facts.orders[one], code) for one, code in facts.decided.items()]
        await append(connection, events=events, now=now)


MOVE_TAKINGS: Final = MoveTakings()
"""The kind of work that moves takings."""


async def check_order(
    connection: AsyncConnection, *, shop_id: UUID, to_shop_id: UUID | None
) -> None:
    """Raise ``shop_unknown``, and ``takings_to_self`` for a shop that would pay itself."""
    if shop_id == to_shop_id:
        raise RefusedError("takings_to_self")
    ids = [shop_id] if to_shop_id is None else [shop_id, to_shop_id]
    if (await connection.execute(_SHOPS, {"ids": ids})).scalar_one() != len(ids):
        raise RefusedError("shop_unknown")


async def order_takings(
    connection: AsyncConnection,
    *,
    shop_id: UUID,
    to_shop_id: UUID | None,
    amount_yen: int,
    ordered_by: UUID,
    now_us: int,
) -> UUID:
    """Write an order in the caller's transaction and return its id; the worker moves the money.

    Raises as :func:`check_order`.
    """
    await check_order(connection, shop_id=shop_id, to_shop_id=to_shop_id)
    order_id = align_id(new_id(now_us=now_us))
    await connection.execute(
        _INSERT,
        {
            "id": order_id,
            "shop_id": shop_id,
            "to_shop_id": to_shop_id,
            "amount_yen": amount_yen,
            "ordered_by": ordered_by,
            "now": to_datetime(now_us),
        },
    )
    return order_id


async def list_orders(
    connection: AsyncConnection, *, before: UUID | None, limit: int
) -> list[Order]:
    """Return orders, newest first, from the one before ``before`` on."""
    rows = await connection.execute(_LIST, {"before": before, "limit": limit})
    return [Order(**row) for row in rows.mappings()]


async def find_due(engine: AsyncEngine) -> list[UUID]:
    """Return the oldest orders that wait to be moved, :data:`ORDERS_PER_ROUND` at most."""
    async with read(engine) as connection:
        rows = await connection.execute(_DUE, {"most": ORDERS_PER_ROUND})
        return list(rows.scalars())


async def move_takings(teller: Teller, order_ids: Sequence[UUID]) -> int:
    """Move the orders and return how many were; those of a service that is stopped stay."""
    futures = [teller.submit(MOVE_TAKINGS, one) for one in order_ids]
    return sum([await future is None for future in futures])


def _due_from(row: Sequence[Any]) -> _Due:
    (id_, _, _, amount_yen, state, merchant_id, merchant_state, payable_id, *payee) = row
    payer = _Side(merchant_id, merchant_state == "active", payable_id)
    if payee[0] is None:
        return _Due(id_, amount_yen, state, payer, None)
    return _Due(id_, amount_yen, state, payer, _Side(payee[0], payee[1] == "active", payee[2]))


def _is_stopped(due: _Due, kind: ScopeKind, stops: frozenset[str]) -> bool:
    sides = (due.payer,) if due.payee is None else (due.payer, due.payee)
    return any(matches(stops, kind, merchant_id=side.merchant_id) for side in sides)


def _refuse(due: _Due, batch: Batch) -> Refusal | None:
    if not due.payer.is_active or (due.payee is not None and not due.payee.is_active):
        return Refusal("merchant_suspended")
    available_yen = batch.book.available(due.payer.payable_account_id)
    if due.amount_yen > available_yen:
        return Refusal("takings_insufficient", {"available_yen": max(0, available_yen)})
    return None


def _book(due: _Due, batch: Batch) -> None:
    if due.payee is None and CASH_OUT_ACCOUNT_ID not in batch.book.balances:
        account = Account(CASH_OUT_ACCOUNT_ID, LEDGER_JPY, ACCOUNT_CASH_OUT)
        (opened,) = batch.book.create_accounts([account])
        if opened.code is not AccountCode.CREATED:
            message = f"the ledger refused the account for what leaves: {opened.code}"
            raise RuntimeError(message)
    transfer = Transfer(
        numbered_id(due.id, 1),
        due.payer.payable_account_id,
        CASH_OUT_ACCOUNT_ID if due.payee is None else due.payee.payable_account_id,
        due.amount_yen,
        LEDGER_JPY,
        TRANSFER_CASH_OUT if due.payee is None else TRANSFER_SHOP_TO_SHOP,
        user_data_128=due.id,
    )
    (result,) = batch.book.create_transfers([transfer])
    if result.code is not TransferCode.CREATED:
        message = f"the ledger refused takings that fit: {result.code}"
        raise RuntimeError(message)


def _event(due: _Due, refused_because: str | None) -> Event:
    body = {
        "order_id": due.id,
        "merchant_id": due.payer.merchant_id,
        "to_merchant_id": None if due.payee is None else due.payee.merchant_id,
        "amount_yen": due.amount_yen,
        "refused_because": refused_because,
    }
    kind = MOVED if refused_because is None else REFUSED
    return Event(due.id, kind, _encode(body).decode())
