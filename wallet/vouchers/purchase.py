"""What was reserved: paid for on the way one likes, given up, looked at.

A purchase's row is locked before its order's, and the stock last.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.core.clock import to_datetime, to_microseconds
from wallet.core.outbox import tell
from wallet.core.refusals import RefusedError
from wallet.programmes.rules import Frame
from wallet.receipts.request_payment import (
    Bill,
    PaymentSlip,
    cancel_payment,
    find_slips,
    request_payment,
)
from wallet.receipts.rules import Method, Purpose, Share, last_payable
from wallet.vouchers.campaigns_rules import end_of
from wallet.vouchers.purchase_rules import shares_of

PURCHASES_SHOWN_MAX: Final = 100

SLIPS_MAX: Final = 10
"""Slips that one purchase may have had, of whatever ways to pay."""

_COLUMNS: Final = """
SELECT p.id, g.code AS programme, p.programme_id, p.wallet_id, p.person_id, p.units, p.price_yen,
       p.face_yen, p.state, p.application_id, p.round, p.created_at, p.deadline,
       p.receipt_order_id, p.ended_at, p.held_because
FROM purchase AS p JOIN programme AS g ON g.id = p.programme_id
"""

_LOCK: Final = text(f"{_COLUMNS} WHERE p.id = :id AND p.person_id = :person_id FOR UPDATE OF p")

_LIST: Final = text(f"""{_COLUMNS}
WHERE p.wallet_id = ANY(CAST(:wallet_ids AS uuid[]))
  AND (CAST(:id AS uuid) IS NULL OR p.id = :id)
ORDER BY p.id DESC LIMIT :limit
""")

_FRAME: Final = text("SELECT terms->'frame' FROM programme WHERE id = :id")
_LAST_DAY: Final = text("""
SELECT CAST(terms->'spending'->>'last_day' AS date) FROM programme WHERE id = :id
""")
_PARTS: Final = text("SELECT code, id FROM programme WHERE code = ANY(:codes)")
_COUNT_ORDERS: Final = text("""
SELECT count(*) FROM receipt_order WHERE purpose = 'voucher' AND reference_id = :id
""")
_SET_ORDER: Final = text("UPDATE purchase SET receipt_order_id = :order_id WHERE id = :id")

_END: Final = text("""
UPDATE purchase SET state = :state, ended_at = :now WHERE id = ANY(CAST(:ids AS uuid[]))
""")

_GIVE_BACK: Final = text("""
UPDATE win AS w
SET units_bought = w.units_bought - back.units,
    state = CASE WHEN w.state = 'bought' THEN 'offered' ELSE w.state END
FROM (SELECT application_id, round, sum(units) AS units FROM purchase
      WHERE id = ANY(CAST(:ids AS uuid[])) AND application_id IS NOT NULL
      GROUP BY application_id, round) AS back
WHERE w.application_id = back.application_id AND w.round = back.round
""")

_LOCK_STOCK: Final = text("""
SELECT programme_id FROM stock WHERE programme_id = ANY(CAST(:programme_ids AS uuid[]))
ORDER BY programme_id FOR NO KEY UPDATE
""")

_RETURN: Final = text("""
UPDATE stock AS s SET units_reserved = s.units_reserved - back.units,
                      units_sold = s.units_sold + CASE WHEN :sold THEN back.units ELSE 0 END
FROM (SELECT programme_id, sum(units) AS units FROM purchase
      WHERE id = ANY(CAST(:ids AS uuid[])) GROUP BY programme_id) AS back
WHERE s.programme_id = back.programme_id
""")


class Bought(msgspec.Struct, frozen=True, kw_only=True):
    """A purchase with the slip by which it is paid, if one was asked for.

    ``state`` is ``reserved``, ``paid`` (the money has come, the vouchers are on their way),
    ``issued``, ``lapsed`` or ``cancelled``.
    """

    id: UUID
    programme: str
    programme_id: UUID
    wallet_id: UUID
    person_id: UUID
    units: int
    price_yen: int
    face_yen: int
    state: str
    application_id: UUID | None
    created_us: int
    deadline_us: int
    slip: PaymentSlip | None


async def pay_purchase(
    connection: AsyncConnection,
    *,
    purchase_id: UUID,
    person_id: UUID,
    method: Method,
    now_us: int,
) -> PaymentSlip:
    """Return the slip by which a reserved purchase is paid, in the caller's transaction.

    Asking again for the same way returns the same slip while it is good; another way takes the
    first one back. Raises :class:`RefusedError` ``purchase_unknown``, ``purchase_paid``,
    ``purchase_over``, ``payment_too_late``, and ``slips_too_many`` after :data:`SLIPS_MAX`.
    """
    row = await _lock(connection, purchase_id, person_id)
    known = await _open_slip(connection, row)
    if known is not None:
        if known.method is method and known.expires_us > now_us:
            return known
        if not await cancel_payment(connection, order_id=known.order_id):
            raise RefusedError("purchase_paid")
    if (await connection.execute(_COUNT_ORDERS, {"id": purchase_id})).scalar_one() >= SLIPS_MAX:
        raise RefusedError("slips_too_many", most=SLIPS_MAX)
    last_day = (await connection.execute(_LAST_DAY, {"id": row.programme_id})).scalar_one()
    # After the last day nothing is issued, and a slower provider reports later than another.
    last_us = last_payable(method, ends_us=to_microseconds(end_of(last_day)))
    bill = Bill(
        purpose=Purpose.VOUCHER,
        reference_id=purchase_id,
        programme_id=row.programme_id,
        amount_yen=row.price_yen,
        method=method,
        deadline_us=min(to_microseconds(row.deadline), last_us),
        shares=await _shares(connection, row),
    )
    slip = await request_payment(connection, bill=bill, now_us=now_us)
    await connection.execute(_SET_ORDER, {"id": purchase_id, "order_id": slip.order_id})
    return slip


async def cancel_purchase(
    connection: AsyncConnection, *, purchase_id: UUID, person_id: UUID, now_us: int
) -> None:
    """Give up what was reserved, in the caller's transaction; the units are for others again.

    Raises :class:`RefusedError` ``purchase_unknown``, ``purchase_paid`` and ``purchase_over``.
    """
    row = await _lock(connection, purchase_id, person_id)
    known = await _open_slip(connection, row)
    if known is not None and not await cancel_payment(connection, order_id=known.order_id):
        raise RefusedError("purchase_paid")
    await give_back(connection, purchases=[row], state="cancelled", now_us=now_us)


async def list_purchases(
    connection: AsyncConnection,
    *,
    wallet_ids: Collection[UUID],
    purchase_id: UUID | None = None,
) -> list[Bought]:
    """Return the newest purchases for the wallets, :data:`PURCHASES_SHOWN_MAX` at most.

    With ``purchase_id`` only that one, if it is for one of them.
    """
    values = {
        "wallet_ids": list(wallet_ids),
        "id": purchase_id,
        "limit": PURCHASES_SHOWN_MAX,
    }
    rows = (await connection.execute(_LIST, values)).all()
    order_ids = [row.receipt_order_id for row in rows if row.receipt_order_id is not None]
    slips = await find_slips(connection, order_ids=order_ids) if order_ids else {}
    return [_bought(row, slips.get(row.receipt_order_id)) for row in rows]


async def give_back(
    connection: AsyncConnection, *, purchases: Sequence[Any], state: str, now_us: int
) -> None:
    """End locked purchases that nobody has paid: offers and stock have their units again."""
    values = {"ids": [one.id for one in purchases]}
    await connection.execute(_END, {**values, "state": state, "now": to_datetime(now_us)})
    await connection.execute(_GIVE_BACK, values)
    await count(connection, purchases=purchases, sold=False)
    for one in purchases:
        await tell(
            connection, kind=f"purchase.{state}", body={"purchase_id": one.id}, now_us=now_us
        )


async def end_issued(connection: AsyncConnection, *, purchases: Sequence[Any], now_us: int) -> None:
    """End locked purchases whose vouchers are in their wallets: reserved units become sold ones."""
    values = {"ids": [one.id for one in purchases]}
    await connection.execute(_END, {**values, "state": "issued", "now": to_datetime(now_us)})
    await count(connection, purchases=purchases, sold=True)


async def count(connection: AsyncConnection, *, purchases: Iterable[Any], sold: bool) -> None:
    """Take the units of purchases from what is reserved; what was ``sold`` does not come back."""
    purchases = list(purchases)
    programme_ids = list({one.programme_id for one in purchases})
    await connection.execute(_LOCK_STOCK, {"programme_ids": programme_ids})
    await connection.execute(_RETURN, {"ids": [one.id for one in purchases], "sold": sold})


async def _lock(connection: AsyncConnection, purchase_id: UUID, person_id: UUID) -> Any:  # noqa: ANN401 - a row
    values = {"id": purchase_id, "person_id": person_id}
    row = (await connection.execute(_LOCK, values)).one_or_none()
    if row is None:
        raise RefusedError("purchase_unknown")
    if row.state == "issued":
        raise RefusedError("purchase_paid")
    if row.state != "reserved":
        raise RefusedError("purchase_over")
    return row


async def _open_slip(connection: AsyncConnection, row: Any) -> PaymentSlip | None:  # noqa: ANN401 - a row
    """Return the slip that is out for a purchase, None when there is none or it is over."""
    if row.receipt_order_id is None:
        return None
    slips = await find_slips(connection, order_ids=[row.receipt_order_id])
    slip = slips[row.receipt_order_id]
    if slip.state == "paid":
        raise RefusedError("purchase_paid")
    return slip if slip.state == "waiting" else None


async def _shares(connection: AsyncConnection, row: Any) -> tuple[Share, ...]:  # noqa: ANN401 - a row
    """Return whose money the price is, by the parts of the programme's frame."""
    stored = (await connection.execute(_FRAME, {"id": row.programme_id})).scalar_one()
    frame = msgspec.convert(stored, Frame)
    codes = [part.programme for part in frame.parts]
    ids: dict[str, UUID] = {}
    if codes:
        ids = {row.code: row.id for row in await connection.execute(_PARTS, {"codes": codes})}
    parts = [(ids[part.programme], part.paid_yen) for part in frame.parts]
    shares = shares_of(
        parts, programme_id=row.programme_id, units=row.units, price_yen=row.price_yen
    )
    return tuple(Share(programme_id, amount_yen) for programme_id, amount_yen in shares)


def _bought(row: Any, slip: PaymentSlip | None) -> Bought:  # noqa: ANN401 - a row
    is_paid = row.state == "reserved" and slip is not None and slip.state == "paid"
    return Bought(
        id=row.id,
        programme=row.programme,
        programme_id=row.programme_id,
        wallet_id=row.wallet_id,
        person_id=row.person_id,
        units=row.units,
        price_yen=row.price_yen,
        face_yen=row.face_yen,
        state="paid" if is_paid else row.state,
        application_id=row.application_id,
        created_us=to_microseconds(row.created_at),
        deadline_us=to_microseconds(row.deadline),
        slip=slip,
    )
