"""Ask to charge: what may be charged now, and the slip by which it is paid.

The person's row is locked, so two requests at once are looked at one after the other, and what the
first will bring counts for the second.
"""

from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.auth.use_step_up import Approval, use_step_up
from wallet.core.clock import MICROSECONDS, japanese_day, to_datetime
from wallet.core.ids import align_id, new_id
from wallet.core.refusals import Refusal, RefusedError
from wallet.ops.rules import ScopeKind, matches
from wallet.people.persons import Person, lock_person
from wallet.people.tiers import limits_of
from wallet.points.rules import ChargeCase, check_charge, may_hold
from wallet.programmes.rules import SCHEDULED
from wallet.programmes.terms import Kind, Terms, expires_on_of
from wallet.receipts.request_payment import Bill, PaymentSlip, find_slips, request_payment
from wallet.receipts.rules import Method, Purpose

PAYABLE_S: Final = 3 * 86_400
"""How long a charge may be paid; a card's page is open for less."""

CHARGES_MAX: Final = 100

_PROGRAMME: Final = text("""
SELECT g.id, g.terms, g.state, (SELECT scopes FROM stop_control WHERE id = 1) AS stops
FROM programme AS g WHERE g.code = :code
""")

_FIND: Final = text("""
SELECT c.id, c.order_id, c.amount_yen, c.method, p.code AS programme
FROM charge AS c JOIN programme AS p ON p.id = c.programme_id
WHERE c.person_id = :person_id AND c.idempotency_key = :key
""")

_WALLET: Final = text("""
SELECT (array_agg(id ORDER BY state = 'closed', id))[1] FROM wallet
WHERE person_id = :person_id
""")

_HELD: Final = text("""
SELECT coalesce(sum(b.credits_posted - b.debits_posted), 0)::bigint AS held_yen,
       coalesce(sum(b.credits_posted - b.debits_posted)
                FILTER (WHERE p.programme_id = :programme_id), 0)::bigint AS held_programme_yen
FROM purse AS p JOIN balance AS b ON b.account_id = p.account_id
WHERE p.wallet_id = :wallet_id
""")

# What waits counts as long as it can still be paid.
_CHARGES: Final = text("""
SELECT coalesce(sum(amount_yen) FILTER (WHERE state = 'waiting'), 0)::bigint AS waiting_yen,
       coalesce(sum(amount_yen) FILTER (WHERE state = 'waiting' AND programme_id = :programme_id),
                0)::bigint AS waiting_programme_yen,
       coalesce(sum(amount_yen) FILTER (WHERE state = 'waiting' AND method = 'card'), 0)::bigint
           AS waiting_card_yen,
       coalesce(bool_or(state = 'charged' AND method = 'card'), false) AS has_charged_by_card
FROM charge
WHERE person_id = :person_id AND amount_yen > 0 AND (state = 'charged' OR expires_at > :now)
""")

_INSERT: Final = text("""
INSERT INTO charge (id, person_id, wallet_id, programme_id, amount_yen, method, idempotency_key,
                    order_id, state, created_at, expires_at)
VALUES (:id, :person_id, :wallet_id, :programme_id, :amount_yen, :method, :key, :order_id,
        'waiting', :now, :expires_at)
""")

_LIST: Final = text("""
SELECT c.id, p.code AS programme, c.amount_yen, c.method, o.state AS order_state,
       c.state = 'charged' AS is_charged, c.created_at, c.expires_at, c.charged_at
FROM charge AS c JOIN programme AS p ON p.id = c.programme_id
JOIN receipt_order AS o ON o.id = c.order_id
WHERE c.person_id = :person_id AND c.amount_yen > 0 ORDER BY c.id DESC LIMIT :limit
""")


class NewCharge(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody wants to charge, and how they will pay."""

    person_id: UUID
    idempotency_key: str
    programme: str
    amount_yen: int
    method: Method
    app_version: str | None = None
    cooling_until: datetime | None = None


class Charge(msgspec.Struct, frozen=True):
    """A charge that waits to be paid by its slip."""

    id: UUID
    programme: str
    slip: PaymentSlip


class ChargeSeen(msgspec.Struct, frozen=True, kw_only=True):
    """A charge as its holder sees it; ``paid`` is when the coin is on its way."""

    id: UUID
    programme: str
    amount_yen: int
    method: str
    state: Literal["waiting", "paid", "charged", "over"]
    created_at: datetime
    expires_at: datetime
    charged_at: datetime | None


async def request_charge(
    connection: AsyncConnection, *, new: NewCharge, approval: Approval | None, now_us: int
) -> Charge:
    """Write a charge with its order in the caller's transaction; a repeat is given its slip again.

    Raises :class:`RefusedError` with the reason when it may not be, or with the codes of
    :func:`~wallet.auth.use_step_up.use_step_up`. By card an ``approval`` is needed.
    """
    person = await lock_person(connection, person_id=new.person_id)
    repeat = await _find_repeat(connection, new)
    if repeat is not None:
        return repeat
    programme_id, terms = await _check(connection, person, new, now_us=now_us)
    wallet_id: UUID | None = (
        await connection.execute(_WALLET, {"person_id": person.id})
    ).scalar_one()
    if wallet_id is None:
        raise RefusedError("wallet_unknown")
    sums = await _add_up(connection, person, wallet_id, programme_id, to_datetime(now_us))
    case = ChargeCase(
        tier=limits_of(person.tier), caps=terms.caps, by_card=new.method is Method.CARD, **sums
    )
    _raise(check_charge(case, amount_yen=new.amount_yen))
    if new.method is Method.CARD:
        if approval is None:
            raise RefusedError("step_up_required")
        await use_step_up(connection, approval=approval, now_us=now_us)
    return await _write(connection, new, wallet_id, programme_id, now_us)


async def find_charge(connection: AsyncConnection, *, new: NewCharge) -> Charge | None:
    """Return the charge that was asked for under the same key, None before the first time.

    Raises ``idempotency_conflict`` when it was another one.
    """
    return await _find_repeat(connection, new)


async def list_charges(
    connection: AsyncConnection, *, person_id: UUID, now: datetime
) -> list[ChargeSeen]:
    """Return somebody's newest charges, :data:`CHARGES_MAX` at most."""
    rows = await connection.execute(_LIST, {"person_id": person_id, "limit": CHARGES_MAX})
    return [
        ChargeSeen(
            id=row.id,
            programme=row.programme,
            amount_yen=row.amount_yen,
            method=row.method,
            state=_state(row, now),
            created_at=row.created_at,
            expires_at=row.expires_at,
            charged_at=row.charged_at,
        )
        for row in rows
    ]


async def _find_repeat(connection: AsyncConnection, new: NewCharge) -> Charge | None:
    values = {"person_id": new.person_id, "key": new.idempotency_key}
    row = (await connection.execute(_FIND, values)).one_or_none()
    if row is None:
        return None
    if (row.programme, row.amount_yen, row.method) != (new.programme, new.amount_yen, new.method):
        raise RefusedError("idempotency_conflict")
    slips = await find_slips(connection, order_ids=[row.order_id])
    return Charge(row.id, row.programme, slips[row.order_id])


async def _check(
    connection: AsyncConnection, person: Person, new: NewCharge, *, now_us: int
) -> tuple[UUID, Terms]:
    """Return the programme, or raise why nobody, or not this person, may charge it now."""
    row = (await connection.execute(_PROGRAMME, {"code": new.programme})).one_or_none()
    if row is None:
        raise RefusedError("programme_unknown", programme=new.programme)
    if row.state == SCHEDULED:
        raise RefusedError("programme_not_live", programme=new.programme)
    stops = frozenset(row.stops)
    if matches(
        stops,
        ScopeKind.CHARGE,
        programme=new.programme,
        tier=person.tier,
        app_version=new.app_version,
    ):
        raise RefusedError("service_stopped")
    terms = msgspec.convert(row.terms, Terms)
    if person.state != "active":
        raise RefusedError("wallet_frozen")
    # A set of a voucher is sold as a set; coin is sold by the yen.
    if terms.kind is not Kind.COIN or terms.frame is not None:
        raise RefusedError("charge_not_allowed", programme=new.programme)
    if not may_hold(terms.eligibility, resident=person.resident):
        raise RefusedError("holder_not_eligible", programme=new.programme)
    paid_by = japanese_day(now_us + PAYABLE_S * MICROSECONDS)
    if expires_on_of(terms, paid_by) < paid_by:
        raise RefusedError("points_over")
    cooling = [until for until in (person.cooling_until, new.cooling_until) if until is not None]
    if new.method is Method.CARD and cooling and max(cooling) > to_datetime(now_us):
        raise RefusedError("charge_cooling_off")
    return row.id, terms


async def _add_up(
    connection: AsyncConnection,
    person: Person,
    wallet_id: UUID,
    programme_id: UUID,
    now: datetime,
) -> dict[str, Any]:
    """Return what the person holds and is still to pay for, as a :class:`ChargeCase` has it."""
    values = {"wallet_id": wallet_id, "programme_id": programme_id}
    held = (await connection.execute(_HELD, values)).one()
    asked = {"person_id": person.id, "programme_id": programme_id, "now": now}
    charges = (await connection.execute(_CHARGES, asked)).one()
    return {
        "held_yen": held.held_yen + charges.waiting_yen,
        "held_programme_yen": held.held_programme_yen + charges.waiting_programme_yen,
        "waiting_card_yen": charges.waiting_card_yen,
        "has_charged_by_card": charges.has_charged_by_card,
    }


async def _write(
    connection: AsyncConnection, new: NewCharge, wallet_id: UUID, programme_id: UUID, now_us: int
) -> Charge:
    charge_id = align_id(new_id(now_us=now_us))
    bill = Bill(
        purpose=Purpose.CHARGE,
        reference_id=charge_id,
        programme_id=programme_id,
        amount_yen=new.amount_yen,
        method=new.method,
        deadline_us=now_us + PAYABLE_S * MICROSECONDS,
    )
    slip = await request_payment(connection, bill=bill, now_us=now_us)
    await connection.execute(
        _INSERT,
        {
            "id": charge_id,
            "person_id": new.person_id,
            "wallet_id": wallet_id,
            "programme_id": programme_id,
            "amount_yen": new.amount_yen,
            "method": new.method,
            "key": new.idempotency_key,
            "order_id": slip.order_id,
            "now": to_datetime(now_us),
            "expires_at": to_datetime(slip.expires_us),
        },
    )
    return Charge(charge_id, new.programme, slip)


def _raise(refusal: Refusal | None) -> None:
    if refusal is not None:
        raise RefusedError(refusal.code, **refusal.facts)


def _state(row: Any, now: datetime) -> Literal["waiting", "paid", "charged", "over"]:  # noqa: ANN401 - a row
    if row.is_charged:
        return "charged"
    if row.order_state == "paid":
        return "paid"
    is_open = row.order_state == "waiting" and row.expires_at > now
    return "waiting" if is_open else "over"
