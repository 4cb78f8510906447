"""``/app/v1/gifts``: give what one has paid for, take what one was given, take back what waits."""

from datetime import datetime
from functools import partial
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Request
from pydantic import Field

from wallet.api.resident import (
    FREE_TEXT,
    ActiveResident,
    AnyResident,
    AppAnswer,
    AppBody,
    AppRoute,
    Resident,
    documented,
    id_in,
    rooms_of,
)
from wallet.api.resident_asking import (
    CONFIRMED,
    CodeBody,
    ProgrammeCode,
    ask_for_level,
    ask_teller,
    check_code,
    key_of,
    step_up_in,
)
from wallet.core.clock import rfc3339, to_datetime, to_microseconds
from wallet.core.database import read
from wallet.core.ids import align_id, new_id, public_id
from wallet.people.rules import read_support_code
from wallet.points.check_codes import check_gift_code, find_given, find_receiver
from wallet.points.claim import SETTLE_GIFT, Cancel, Claim
from wallet.points.codes import gift_code_hash, gift_code_of
from wallet.points.give import GIVE, Asked, Gave, Give
from wallet.points.queries import list_gifts
from wallet.points.rules import GIFT_TRANSFER_MAX_YEN
from wallet.points.storage import Gift

router = APIRouter(prefix="/app/v1", route_class=AppRoute, tags=["points"])


class GiveBody(AppBody):
    """What to give of which money; ``to`` is a support code, left out it goes by a code."""

    programme: ProgrammeCode
    amount_yen: Annotated[int, Field(ge=1, le=GIFT_TRANSFER_MAX_YEN)]
    to: Annotated[str, Field(min_length=1, max_length=20), FREE_TEXT] | None = None


class GiftAnswer(AppAnswer):
    """A gift as one side sees it; ``code`` is for its giver to pass on, until it is claimed."""

    id: str
    direction: Literal["given", "received"]
    state: Literal["given", "waiting", "cancelled", "expired"]
    programme: str
    amount_yen: int
    created_at: str
    expires_at: str | None
    code: str | None = None


class GiftsAnswer(AppAnswer):
    """One's gifts, newest first."""

    data: list[GiftAnswer]


@router.post(
    "/gifts",
    status_code=201,
    responses=documented(400, 402, 403, 404, 409, 423, 429),
    summary="Give to somebody",
    operation_id="give",
    openapi_extra=CONFIRMED,
)
async def give(request: Request, resident: ActiveResident, body: GiveBody) -> GiftAnswer:
    """Give what was paid for to somebody named, or to whoever will have the code.

    The code is told to a repeat too. Until it is claimed the money stays in the giver's wallet.
    """
    key, rooms = key_of(request), rooms_of(request)
    code = receiver_id = None
    if body.to is None:
        code = gift_code_of(resident.person.id, idempotency_key=key, pepper=rooms.pepper)
    else:
        receiver_id = await _find_receiver(request, resident, body.to, key)
    caller = resident.caller
    asked = Give(
        gift_id=align_id(new_id(now_us=rooms.clock())),
        giver_id=resident.person.id,
        idempotency_key=key,
        programme=body.programme,
        amount_yen=body.amount_yen,
        receiver_id=receiver_id,
        code_hash=None if code is None else gift_code_hash(code, pepper=rooms.pepper),
        app_version=caller.app_version,
        cooling_until=(
            None if caller.cooling_until_us is None else to_datetime(caller.cooling_until_us)
        ),
        step_up_id=step_up_in(request),
    )
    settled = await ask_teller(request, GIVE, asked)
    if isinstance(settled, Asked):
        raise await ask_for_level(
            request,
            resident,
            operation=settled.operation,
            needed=settled.requirement,
            fields=asked.operation,
            summary={
                "amount_yen": asked.amount_yen,
                "programme": asked.programme,
                "to": "code" if body.to is None else read_support_code(body.to),
            },
        )
    gave: Gave = settled
    return _gift(gave.gift, gave.programme, code=code)


@router.get("/gifts", responses=documented(), summary="List my gifts", operation_id="list_gifts")
async def gifts(request: Request, resident: AnyResident) -> GiftsAnswer:
    """List what the caller has given and received, newest first."""
    rooms = rooms_of(request)
    now = to_datetime(rooms.clock())
    async with read(rooms.engine) as connection:
        found = await list_gifts(connection, person_id=resident.person.id, now=now)
    return GiftsAnswer(
        data=[
            GiftAnswer(
                id=public_id("gft", one.id),
                direction=one.direction,
                state=one.state,
                programme=one.programme,
                amount_yen=one.amount_yen,
                created_at=rfc3339(to_microseconds(one.created_at)),
                expires_at=_moment(one.expires_at),
            )
            for one in found
        ]
    )


@router.post(
    "/gifts/claim",
    responses=documented(403, 404, 409, 410, 423, 429),
    summary="Claim a gift",
    operation_id="claim_gift",
)
async def claim(request: Request, resident: ActiveResident, body: CodeBody) -> GiftAnswer:
    """Take the gift that a code stands for."""
    check = partial(check_gift_code, code=body.code, pepper=rooms_of(request).pepper)
    code_hash = await check_code(request, resident, check)
    asked = Claim(resident.person.id, code_hash, resident.caller.app_version)
    gave: Gave = await ask_teller(request, SETTLE_GIFT, asked)
    return _gift(gave.gift, gave.programme, received=True)


@router.delete(
    "/gifts/{gift_id}",
    responses=documented(404, 409, 410, 423),
    summary="Take a gift back",
    operation_id="cancel_gift",
)
async def cancel(request: Request, resident: ActiveResident, gift_id: str) -> GiftAnswer:
    """Take back what nobody has claimed yet."""
    parsed: UUID = id_in("gft", gift_id, code="gift_unknown")
    gave: Gave = await ask_teller(request, SETTLE_GIFT, Cancel(resident.person.id, parsed))
    return _gift(gave.gift, gave.programme)


async def _find_receiver(request: Request, resident: Resident, support_code: str, key: str) -> UUID:
    # A repeat of a gift that was made is told so, even if nobody can be given anything any more.
    async with read(rooms_of(request).engine) as connection:
        given = await find_given(
            connection,
            giver_id=resident.person.id,
            idempotency_key=key,
            support_code=support_code,
        )
    if given is not None:
        return given
    check = partial(find_receiver, support_code=support_code)
    found: UUID = await check_code(request, resident, check)
    return found


def _gift(
    gift: Gift, programme: str, *, code: str | None = None, received: bool = False
) -> GiftAnswer:
    state: Any = gift.state
    return GiftAnswer(
        id=public_id("gft", gift.id),
        direction="received" if received else "given",
        state=state,
        programme=programme,
        amount_yen=gift.amount_yen,
        created_at=rfc3339(to_microseconds(gift.created_at)),
        expires_at=_moment(gift.expires_at),
        code=code if gift.state == "waiting" else None,
    )


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else rfc3339(to_microseconds(moment))
