"""Payments that wait for their payer: the rows that keep them until they are decided.

A waiting payment has moved nothing. It holds its idempotency key, its merchant's name for it and
the code that was shown, so that nothing else can be asked for with them meanwhile. The challenge
to its payer has the payment's own id.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Final, cast
from uuid import UUID

import msgspec
from msgspec.structs import replace
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from wallet.auth.step_up_storage import INSERT, Challenge, columns_of
from wallet.core.clock import to_datetime
from wallet.core.database import Connection, array_literal, write
from wallet.core.ids import new_id
from wallet.core.refusals import Refusal
from wallet.payments.rules import CARD, Payment, PayRequest
from wallet.payments.storage import TerminalFacts
from wallet.programmes.rules import Shop

EXPIRED_MAX: Final = 500
"""Payments that one round of expiry declines; the rest follow in the next."""

# What begins to wait, in one round trip: the challenge to its payer, which has the same id, the
# event that wakes their phone, the payment's row, its key, and the code it has used up.
_INSERT = f"""
WITH asked AS ({INSERT}
), told AS (
    INSERT INTO outbox (event_id, kind, body, created_at)
    SELECT event_id, 'step_up.requested', jsonb_build_object(
               'challenge_id', id, 'principal_id', principal_id, 'device_id', device_id), $25
    FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $26::uuid[])
         AS t (id, principal_id, device_id, event_id)
), new AS (
    SELECT * FROM unnest($1::uuid[], $13::uuid[], $14::text[], $15::text[], $16::uuid[],
                         $17::uuid[], $18::text::bigint[], $19::text[], $20::bytea[], $21::text[],
                         $22::uuid[], $23::uuid[], $24::timestamptz[])
    AS t (id, merchant_id, key, merchant_payment_id, shop_id, terminal_id, amount_yen, instrument,
          instrument_hash, description, wallet_id, helper_id, expires_at)
), waiting AS (
    INSERT INTO pending_payment (id, merchant_id, idempotency_key, merchant_payment_id, shop_id,
                                 terminal_id, amount_yen, instrument, instrument_hash, description,
                                 wallet_id, helper_id, created_at, expires_at)
    SELECT id, merchant_id, key, merchant_payment_id, shop_id, terminal_id, amount_yen, instrument,
           instrument_hash, description, wallet_id, helper_id, $25, expires_at
    FROM new
), burnt AS (
    UPDATE one_time_code AS c SET burnt_by = new.id FROM new
    WHERE new.instrument = 'cpm_code' AND c.code_hash = ANY (ARRAY[new.instrument_hash])
      AND c.burnt_by IS NULL
)
INSERT INTO idempotency_key (principal_id, key, payment_id, created_at)
SELECT merchant_id, key, id, $25 FROM new
"""  # noqa: S608 - a part of ours

# That a payment of the same name has overtaken one that waits is only possible for two requests
# that were decided side by side; the one that waits then never succeeds.
LOCK: Final = """
SELECT w.id, w.merchant_id, w.idempotency_key, w.merchant_payment_id, w.terminal_id, w.amount_yen,
       w.instrument, w.instrument_hash, w.description, w.wallet_id, w.helper_id, w.created_at,
       w.expires_at, w.decided_at IS NOT NULL,
       EXISTS (SELECT FROM payment AS p WHERE p.merchant_id = w.merchant_id
                 AND p.merchant_payment_id = w.merchant_payment_id OFFSET 0),
       t.id, s.merchant_id, t.state = 'active', m.state = 'active', s.payable_account_id,
       s.id, s.category, s.small, s.chain
FROM (
    SELECT * FROM pending_payment WHERE id = ANY({ids}::uuid[]) ORDER BY id FOR NO KEY UPDATE
) AS w
JOIN terminal AS t ON t.id = ANY (ARRAY[w.terminal_id])
JOIN shop AS s ON s.id = ANY (ARRAY[t.shop_id])
JOIN merchant AS m ON m.id = ANY (ARRAY[s.merchant_id])
"""
"""Locks payments that wait, or have waited, with where their money goes; also as a part of a
statement that asks for more (:func:`pending_from`)."""

_LOCK = LOCK.format(ids="$1")

# One that a batch has locked is being decided there. The merchant hears of each, as of any other
# decline.
_EXPIRE: Final = """
WITH due AS (
    SELECT * FROM pending_payment
    WHERE {whose}expires_at <= :now AND decided_at IS NULL
    ORDER BY expires_at LIMIT :most FOR NO KEY UPDATE SKIP LOCKED
), decided AS (
    UPDATE pending_payment AS w SET decided_at = :now FROM due WHERE w.id = ANY (ARRAY[due.id])
), declined AS (
    INSERT INTO payment (id, merchant_id, merchant_payment_id, shop_id, terminal_id, amount_yen,
                         instrument, instrument_hash, description, refusal, wallet_id, helper_id,
                         state, created_at)
    SELECT id, merchant_id, merchant_payment_id, shop_id, terminal_id, amount_yen, instrument,
           instrument_hash, description, '{{"code": "confirmation_expired"}}', wallet_id,
           helper_id, 'declined', :now
    FROM due
    ON CONFLICT (merchant_id, merchant_payment_id) DO NOTHING
    RETURNING id, merchant_id, merchant_payment_id, amount_yen
)
INSERT INTO outbox (event_id, kind, body, created_at)
SELECT id, 'payment.declined',
       jsonb_build_object('payment_id', id, 'merchant_id', merchant_id,
                          'merchant_payment_id', merchant_payment_id,
                          'amount_yen', amount_yen), :now
FROM declined
"""
_EXPIRE_DUE: Final = text(_EXPIRE.format(whose=""))
_EXPIRE_ONE: Final = text(_EXPIRE.format(whose="id = :payment_id AND "))


class Pending(msgspec.Struct, frozen=True, gc=False):
    """A payment that waits, locked: what was asked for, and whether it is still to be decided."""

    request: PayRequest
    helper_id: UUID | None
    created_at: datetime
    expires_at: datetime
    is_decided: bool
    is_overtaken: bool
    terminal: TerminalFacts

    @property
    def wallet_id(self) -> UUID:
        """Whose money it is."""
        return cast("UUID", self.request.wallet_id)

    @property
    def needs_instrument(self) -> bool:
        """Whether who pays depends on a card, or on a proxy, as it is by now.

        A code has named the wallet once and for all; and whoever answers holds its phone.
        """
        return self.helper_id is not None or self.request.instrument == CARD

    def declined(self, code: str) -> Payment:
        """Return what becomes of it when its payer does not approve it."""
        request = self.request
        return Payment(
            request.payment_id,
            request.merchant_id,
            request.merchant_payment_id,
            self.terminal.shop.id,
            request.terminal_id,
            request.amount_yen,
            request.instrument,
            request.instrument_hash,
            request.description,
            Refusal(code),
            request.wallet_id,
            self.created_at,
            helper_id=self.helper_id,
        )


async def insert(
    connection: Connection,
    waiting: Sequence[tuple[Payment, str, Challenge]],
    *,
    now_us: int,
) -> None:
    """Write payments that begin to wait, each with its key and the challenge to its payer."""
    payments = [payment for payment, _, _ in waiting]
    await connection.execute(
        _INSERT,
        *columns_of([challenge for _, _, challenge in waiting]),
        [p.merchant_id for p in payments],
        [key for _, key, _ in waiting],
        [p.merchant_payment_id for p in payments],
        [p.shop_id for p in payments],
        [p.terminal_id for p in payments],
        array_literal([p.amount_yen for p in payments]),
        [p.instrument for p in payments],
        [p.instrument_hash for p in payments],
        [p.description for p in payments],
        [p.wallet_id for p in payments],
        [p.helper_id for p in payments],
        [p.waiting.expires_at if p.waiting else None for p in payments],
        to_datetime(now_us),
        [new_id(now_us=now_us) for _ in payments],
    )


async def lock(connection: Connection, payment_ids: Collection[UUID]) -> dict[UUID, Pending]:
    """Lock payments that wait, or have waited, and return those there are, by id."""
    rows = await connection.fetch(_LOCK, list(payment_ids))
    return {row[0]: pending_from(row) for row in rows}


def pending_from(row: Sequence[Any]) -> Pending:
    """Return a payment that waits from a row of :data:`LOCK`."""
    (helper_id, created_at, expires_at, is_decided, is_overtaken, *place) = row[10:]
    terminal_id, merchant_id, is_active, is_merchant_active, payable_account_id = place[:5]
    return Pending(
        replace(PayRequest(*row[:9]), wallet_id=row[9]),
        helper_id,
        created_at,
        expires_at,
        is_decided,
        is_overtaken,
        TerminalFacts(
            terminal_id,
            merchant_id,
            is_active,
            is_merchant_active,
            payable_account_id,
            Shop(*place[5:]),
        ),
    )


async def expire_waiting(
    engine: AsyncEngine, *, now_us: int, payment_id: UUID | None = None
) -> int:
    """Decline what has waited too long, or this one payment if it has; return how many there were.

    At most :data:`EXPIRED_MAX` at once. Any number of processes may do it; one that a batch is
    about to decide is left to it.
    """
    statement = _EXPIRE_DUE if payment_id is None else _EXPIRE_ONE
    values: dict[str, Any] = {"now": to_datetime(now_us), "most": EXPIRED_MAX}
    if payment_id is not None:
        values["payment_id"] = payment_id

    async def work(connection: AsyncConnection) -> int:
        return (await connection.execute(statement, values)).rowcount

    return await write(engine, work)
