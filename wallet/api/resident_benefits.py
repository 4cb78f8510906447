"""``/app/v1/benefits``: what one is entitled to, and claiming it: known, or by a letter's code.

Whoever is a guardian or a proxy sees and claims what is for those they stand for. A claim moves
nothing yet: the answer says so, and the next look says when it has arrived.
"""

from collections.abc import Mapping
from datetime import date, datetime
from functools import partial
from typing import Annotated, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Request
from pydantic import Field

from wallet.api.resident import (
    ActiveResident,
    AnyResident,
    AppAnswer,
    AppBody,
    AppRoute,
    address_of,
    answer,
    documented,
    id_in,
    rooms_of,
    write_recorded,
)
from wallet.api.resident_bodies import Id
from wallet.benefits.claim import (
    Claimed,
    CodeEntered,
    claim_as_known,
    claim_by_code,
    list_offers,
)
from wallet.core.database import read
from wallet.core.ids import public_id

router = APIRouter(prefix="/app/v1/benefits", route_class=AppRoute, tags=["benefits"])

State = Literal["offered", "claimed", "granted"]

_STATES: Final[Mapping[str, State]] = {
    "offered": "offered",
    "due": "claimed",
    "granted": "granted",
}


class BenefitAnswer(AppAnswer):
    """A benefit; yen. ``claimed``: on its way to the wallet. ``for_another``: one stands for them.

    ``claim_until`` is the last day to claim it, ``last_day`` the last one on which it can be spent.
    """

    id: str
    name: str
    amount: int
    state: State
    claim_until: date
    last_day: date
    wallet_id: str | None
    granted_at: datetime | None
    for_another: bool


class BenefitsAnswer(AppAnswer):
    """What is for one and for those one stands for, the newest first."""

    data: list[BenefitAnswer]


class ClaimBody(AppBody):
    """Which wallet it shall go to; one's own when none is named."""

    wallet_id: Id | None = None


class ClaimByCodeBody(ClaimBody):
    """The code of a letter, and the birthday of whom the letter is about."""

    code: Annotated[str, Field(min_length=1, max_length=32)]
    birthdate: Annotated[date, Field(strict=False)]


class ClaimedAnswer(AppAnswer):
    """What was claimed, and where it will arrive in a moment."""

    id: str
    wallet_id: str
    state: Literal["claimed"] = "claimed"


@router.get("", responses=documented(), summary="List my benefits", operation_id="list_benefits")
async def list_(request: Request, resident: AnyResident) -> BenefitsAnswer:
    """Return what the caller is entitled to, and those whom they stand for."""
    async with read(rooms_of(request).engine) as connection:
        offers = await list_offers(connection, person_id=resident.person.id)
    return BenefitsAnswer(
        data=[
            BenefitAnswer(
                id=public_id("grt", one.id),
                name=one.name,
                amount=one.amount_yen,
                state=_STATES[one.state],
                claim_until=one.claim_until,
                last_day=one.last_day,
                wallet_id=None if one.wallet_id is None else public_id("wal", one.wallet_id),
                granted_at=one.granted_at,
                for_another=one.for_another,
            )
            for one in offers
        ]
    )


@router.post(
    "/{benefit_id}/claim",
    status_code=202,
    responses=documented(403, 404, 423),
    summary="Claim a benefit",
    operation_id="claim_benefit",
)
async def claim(
    request: Request, resident: ActiveResident, benefit_id: str, body: ClaimBody
) -> ClaimedAnswer:
    """Claim what one is known to be entitled to, or for whom one stands; it is given at once."""
    rooms = rooms_of(request)
    work = partial(
        claim_as_known,
        person=resident.person,
        grant_id=id_in("grt", benefit_id, code="benefit_offer_unknown"),
        wallet_id=_wallet_id(body),
        now_us=rooms.clock(),
    )
    return _claimed(
        await write_recorded(
            request, work, action="benefit.claim", whose=resident.person.id, by="known"
        )
    )


@router.post(
    "/claims",
    status_code=202,
    responses=documented(404, 423, 429),
    summary="Claim by a letter's code",
    operation_id="claim_by_code",
)
async def claim_with_code(
    request: Request, resident: ActiveResident, body: ClaimByCodeBody
) -> ClaimedAnswer:
    """Claim what a letter's code stands for; five wrong birthdays end the code."""
    rooms = rooms_of(request)
    work = partial(
        claim_by_code,
        person=resident.person,
        entered=CodeEntered(
            code=body.code,
            birthdate=body.birthdate,
            address=address_of(request),
            device_id=resident.caller.device_id,
        ),
        wallet_id=_wallet_id(body),
        pepper=rooms.pepper,
        now_us=rooms.clock(),
    )
    return _claimed(
        answer(
            await write_recorded(
                request, work, action="benefit.claim", whose=resident.person.id, by="code"
            )
        )
    )


def _wallet_id(body: ClaimBody) -> UUID | None:
    if body.wallet_id is None:
        return None
    wallet_id: UUID = id_in("wal", body.wallet_id, code="wallet_unknown")
    return wallet_id


def _claimed(claimed: Claimed) -> ClaimedAnswer:
    return ClaimedAnswer(
        id=public_id("grt", claimed.grant_id), wallet_id=public_id("wal", claimed.wallet_id)
    )
