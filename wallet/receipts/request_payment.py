"""Ask somebody to pay: an order with a number of its own, and the slip that says how.

No provider is called here. The number comes out of the block that the city has with it, a card
page is opened by the phone with an order that we have signed, and the provider asks us or reports
to us; so a provider that is slow or down keeps nobody from reserving anything.
"""

import secrets
from collections.abc import Collection, Sequence
from typing import Final
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.core.clock import to_datetime, to_microseconds
from wallet.core.ids import new_id
from wallet.core.outbox import tell
from wallet.core.refusals import RefusedError
from wallet.receipts.rules import SHARES_MAX, Method, Purpose, Share, reference_of, times_of

_DRAWS_MAX: Final = 5
"""Numbers tried before giving up; that even two are taken is a matter of one in a billion."""

_INSERT: Final = text("""
INSERT INTO receipt_order (id, purpose, reference_id, programme_id, amount_yen, shares, method,
                           provider_reference, state, created_at, expires_at, closes_at)
VALUES (:id, :purpose, :reference_id, :programme_id, :amount_yen, CAST(:shares AS jsonb), :method,
        :reference, 'waiting', :now, :expires_at, :closes_at)
ON CONFLICT (provider_reference) DO NOTHING
""")

_CANCEL: Final = text("""
UPDATE receipt_order SET state = 'cancelled' WHERE id = :id AND state = 'waiting'
""")

_FIND: Final = text("""
SELECT id, method, provider_reference, amount_yen, state, expires_at
FROM receipt_order WHERE id = ANY(:ids)
""")


class Bill(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be paid: for what, how much, how, and until when.

    ``reference_id`` is the purchase or charge. ``shares`` say which programmes' money the amount
    is, and make it together; for one programme a single share. A card's order ends earlier than
    ``deadline_us``.
    """

    purpose: Purpose
    reference_id: UUID
    programme_id: UUID
    amount_yen: int
    method: Method
    deadline_us: int
    shares: tuple[Share, ...] = ()


class PaymentSlip(msgspec.Struct, frozen=True, kw_only=True):
    """How an order is paid: ``reference`` is the number to give, good until ``expires_us``."""

    order_id: UUID
    method: Method
    reference: str
    amount_yen: int
    expires_us: int
    state: str = "waiting"


async def request_payment(connection: AsyncConnection, *, bill: Bill, now_us: int) -> PaymentSlip:
    """Write an order in the caller's transaction and return its slip.

    Raises :class:`RefusedError` ``payment_too_late`` when the deadline has passed, and ValueError
    for a bill whose shares do not make its amount.
    """
    shares = bill.shares or (Share(bill.programme_id, bill.amount_yen),)
    _check(bill, shares)
    expires_us, closes_us = times_of(bill.method, now_us=now_us, deadline_us=bill.deadline_us)
    if expires_us <= now_us:
        raise RefusedError("payment_too_late")
    order_id = new_id(now_us=now_us)
    values = {
        "id": order_id,
        "purpose": bill.purpose,
        "reference_id": bill.reference_id,
        "programme_id": bill.programme_id,
        "amount_yen": bill.amount_yen,
        "shares": msgspec.json.encode(
            [[share.programme_id, share.amount_yen] for share in shares]
        ).decode(),
        "method": bill.method,
        "now": to_datetime(now_us),
        "expires_at": to_datetime(expires_us),
        "closes_at": to_datetime(closes_us),
    }
    reference = await _insert(connection, values)
    await tell(
        connection,
        kind="receipt.requested",
        body={"order_id": order_id, "purpose": bill.purpose, "reference_id": bill.reference_id},
        now_us=now_us,
    )
    return PaymentSlip(
        order_id=order_id,
        method=bill.method,
        reference=reference,
        amount_yen=bill.amount_yen,
        expires_us=expires_us,
    )


async def cancel_payment(connection: AsyncConnection, *, order_id: UUID) -> bool:
    """Take back an order that waits; False when it was paid or is over.

    Money that comes for it all the same is suspended.
    """
    return (await connection.execute(_CANCEL, {"id": order_id})).rowcount == 1


async def find_slips(
    connection: AsyncConnection, *, order_ids: Collection[UUID]
) -> dict[UUID, PaymentSlip]:
    """Return the slips of orders, whatever has become of them."""
    rows = await connection.execute(_FIND, {"ids": list(order_ids)})
    return {
        row.id: PaymentSlip(
            order_id=row.id,
            method=Method(row.method),
            reference=row.provider_reference,
            amount_yen=row.amount_yen,
            expires_us=to_microseconds(row.expires_at),
            state=row.state,
        )
        for row in rows
    }


async def _insert(connection: AsyncConnection, values: dict[str, object]) -> str:
    """Write the order under the first number that is free, and return it."""
    for _ in range(_DRAWS_MAX):
        reference = reference_of(secrets.randbits(64))
        written = await connection.execute(_INSERT, {**values, "reference": reference})
        if written.rowcount == 1:
            return reference
    message = "no number is free for an order"
    raise RuntimeError(message)


def _check(bill: Bill, shares: Sequence[Share]) -> None:
    total_yen = sum(share.amount_yen for share in shares)
    positive = all(share.amount_yen > 0 for share in shares)
    if total_yen != bill.amount_yen or not positive or len(shares) > SHARES_MAX:
        message = f"the shares of {bill.reference_id} do not make its amount"
        raise ValueError(message)
