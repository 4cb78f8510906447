"""``/app/v1/charges``: pay the city, and have coin for it.

Asking moves nothing: it brings the number to pay by, and what was paid becomes coin when the
provider has reported it. By card it takes a confirmation beyond the phone, besides the card's own.
"""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Request
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.api.resident import (
    ActiveResident,
    AnyResident,
    AppAnswer,
    AppBody,
    AppRoute,
    Resident,
    documented,
    rooms_of,
)
from wallet.api.resident_asking import CONFIRMED, ask_for_level, key_of, step_up_in
from wallet.auth.rules import Operation, Requirement, Risk, op_hash
from wallet.auth.step_up_table import requirement
from wallet.auth.use_step_up import Approval
from wallet.core.clock import rfc3339, to_datetime, to_microseconds
from wallet.core.database import read, write
from wallet.core.ids import public_id
from wallet.core.money import CURRENCY
from wallet.core.refusals import RefusedError
from wallet.points.request_charge import (
    Charge,
    NewCharge,
    find_charge,
    list_charges,
    request_charge,
)
from wallet.receipts.providers import page_order
from wallet.receipts.rules import Method

router = APIRouter(prefix="/app/v1", route_class=AppRoute, tags=["points"])


class ChargeBody(AppBody):
    """How much of which coin to charge, and how it will be paid."""

    programme: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,64}$")]
    amount_yen: Annotated[int, Field(ge=1, le=1_000_000)]
    method: Literal["convenience", "card", "bank"]


class ChargeSlipAnswer(AppAnswer):
    """How a charge is paid: the number to give, and for a card the order for its page."""

    id: str
    programme: str
    method: Literal["convenience", "card", "bank"]
    reference: str
    amount_yen: int
    expires_at: str
    card_order: str | None


class ChargeAnswer(AppAnswer):
    """A charge; ``paid`` is when the money has come and the coin is on its way."""

    id: str
    programme: str
    amount_yen: int
    method: str
    state: Literal["waiting", "paid", "charged", "over"]
    created_at: str
    expires_at: str
    charged_at: str | None


class ChargesAnswer(AppAnswer):
    """One's charges, newest first."""

    data: list[ChargeAnswer]


@router.post(
    "/charges",
    status_code=201,
    responses=documented(400, 402, 403, 404, 409, 410, 423),
    summary="Charge coin",
    operation_id="charge",
    openapi_extra=CONFIRMED,
)
async def charge(request: Request, resident: ActiveResident, body: ChargeBody) -> ChargeSlipAnswer:
    """Ask to charge; a repeat is given the same number to pay by."""
    rooms, caller = rooms_of(request), resident.caller
    new = NewCharge(
        person_id=resident.person.id,
        idempotency_key=key_of(request),
        programme=body.programme,
        amount_yen=body.amount_yen,
        method=Method(body.method),
        app_version=caller.app_version,
        cooling_until=(
            None if caller.cooling_until_us is None else to_datetime(caller.cooling_until_us)
        ),
    )
    async with read(rooms.engine) as connection:
        made = await find_charge(connection, new=new)
    if made is None:
        made = await _request(request, resident, new)
    slip = made.slip
    return ChargeSlipAnswer(
        id=public_id("chg", made.id),
        programme=made.programme,
        method=slip.method.value,
        reference=slip.reference,
        amount_yen=slip.amount_yen,
        expires_at=rfc3339(slip.expires_us),
        card_order=page_order(slip, pepper=rooms.pepper) if slip.method is Method.CARD else None,
    )


@router.get(
    "/charges", responses=documented(), summary="List my charges", operation_id="list_charges"
)
async def charges(request: Request, resident: AnyResident) -> ChargesAnswer:
    """List what the caller has charged, newest first."""
    rooms = rooms_of(request)
    now = to_datetime(rooms.clock())
    async with read(rooms.engine) as connection:
        found = await list_charges(connection, person_id=resident.person.id, now=now)
    return ChargesAnswer(
        data=[
            ChargeAnswer(
                id=public_id("chg", one.id),
                programme=one.programme,
                amount_yen=one.amount_yen,
                method=one.method,
                state=one.state,
                created_at=_moment(one.created_at),
                expires_at=_moment(one.expires_at),
                charged_at=None if one.charged_at is None else _moment(one.charged_at),
            )
            for one in found
        ]
    )


async def _request(request: Request, resident: Resident, new: NewCharge) -> Charge:
    """Write the charge; by card, on the challenge that was passed for it.

    Whoever has passed none is asked to once all the rest allows the charge.
    """
    rooms, now_us = rooms_of(request), rooms_of(request).clock()
    needed = requirement(
        operation=Operation.CHARGE, amount_yen=new.amount_yen, risk=Risk.LOW, bands_open=()
    )
    approval = _approval(step_up_in(request), new, needed)

    async def work(connection: AsyncConnection) -> Charge:
        return await request_charge(connection, new=new, approval=approval, now_us=now_us)

    try:
        return await write(rooms.engine, work)
    except RefusedError as error:
        if error.refusal.code != "step_up_required":
            raise
    raise await ask_for_level(
        request,
        resident,
        operation=Operation.CHARGE,
        needed=needed,
        fields=_fields(new),
        summary={
            "amount_yen": new.amount_yen,
            "programme": new.programme,
            "method": new.method,
        },
    )


def _approval(challenge_id: UUID | None, new: NewCharge, needed: Requirement) -> Approval | None:
    if challenge_id is None:
        return None
    return Approval(
        challenge_id=challenge_id,
        principal_id=new.person_id,
        op_hash=op_hash(_fields(new)),
        requirement=needed,
        consumed_by=challenge_id,
    )


def _fields(new: NewCharge) -> dict[str, Any]:
    """Return what is approved, as it is hashed: one yen more is another charge."""
    return {
        "op": "charge",
        "person": public_id("per", new.person_id),
        "programme": new.programme,
        "amount": new.amount_yen,
        "currency": CURRENCY,
        "method": str(new.method),
        "idempotency_key": new.idempotency_key,
    }


def _moment(moment: datetime) -> str:
    return rfc3339(to_microseconds(moment))
