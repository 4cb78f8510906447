"""``/app/v1``: civic events, steps and exchanges, by phone; gifts and charges are beside them."""

from datetime import date
from functools import partial
from typing import Annotated

import msgspec
from fastapi import APIRouter, Request
from pydantic import Field

from wallet.api.problems import ProblemError
from wallet.api.resident import (
    ActiveResident,
    AnyResident,
    AppAnswer,
    AppBody,
    AppRoute,
    documented,
    rooms_of,
)
from wallet.api.resident_asking import (
    KEYED,
    CodeBody,
    ProgrammeCode,
    ask_teller,
    check_code,
    key_of,
)
from wallet.core.database import read
from wallet.core.ids import align_id, new_id, public_id
from wallet.points.attend import ATTEND, Attend, Attended
from wallet.points.check_codes import check_event_code
from wallet.points.exchange import EXCHANGE, Exchange, Exchanged
from wallet.points.queries import list_rates, list_step_rules
from wallet.points.rules import STEPS_MAX
from wallet.points.walk import WALK, Walk, Walked

router = APIRouter(prefix="/app/v1", route_class=AppRoute, tags=["points"])

Yen = Annotated[int, Field(ge=1, le=1_000_000)]


class StepsBody(AppBody):
    """How many steps this phone has counted today."""

    programme: ProgrammeCode
    day: Annotated[date, Field(strict=False)]
    steps: Annotated[int, Field(ge=0, le=STEPS_MAX)]


class ExchangeBody(AppBody):
    """How much of one money, at most, shall become another."""

    programme: ProgrammeCode
    to: ProgrammeCode
    amount_yen: Yen


class EarnedAnswer(AppAnswer):
    """What an event has brought, and until when it may be spent."""

    event: str
    programme: str
    amount_yen: int
    expires_on: date


class StepsAnswer(AppAnswer):
    """What counts of the day: its steps, what they have earned in all, and by this count."""

    programme: str
    day: date
    steps: int
    rewarded_yen: int
    earned_yen: int


class RungAnswer(AppAnswer):
    """Who has walked so many steps on a day has earned so much for it, in all."""

    steps: int
    yen: int


class StepRuleAnswer(AppAnswer):
    """What steps earn of a programme."""

    programme: str
    ladder: list[RungAnswer]
    month_max_yen: int
    first_day: date
    last_day: date


class RateAnswer(AppAnswer):
    """One money that may become another: ``times`` / ``per`` of it, floored."""

    programme: str
    to: str
    times: int
    per: int


class OffersAnswer(AppAnswer):
    """What steps earn, and what may be exchanged."""

    steps: list[StepRuleAnswer]
    exchanges: list[RateAnswer]


class ExchangedAnswer(AppAnswer):
    """What was taken of the one money and what came in of the other."""

    id: str
    programme: str
    to: str
    given_yen: int
    received_yen: int


@router.post(
    "/events/attend",
    responses=documented(404, 409, 410, 423, 429),
    summary="Show that I am at an event",
    operation_id="attend_event",
)
async def attend(request: Request, resident: ActiveResident, body: CodeBody) -> EarnedAnswer:
    """Earn an event's points by the code that is shown there: once a day, each code once."""
    rooms = rooms_of(request)
    check = partial(check_event_code, code=body.code, pepper=rooms.pepper)
    said = await check_code(request, resident, check)
    attendance_id = align_id(new_id(now_us=rooms.clock()))
    asked = Attend(attendance_id, resident.person.id, said, resident.caller.app_version)
    attended: Attended = await ask_teller(request, ATTEND, asked)
    return EarnedAnswer(
        event=attended.event,
        programme=attended.programme,
        amount_yen=attended.attendance.amount_yen,
        expires_on=attended.expires_on,
    )


@router.post(
    "/steps",
    responses=documented(404, 409, 423),
    summary="Tell today's steps",
    operation_id="tell_steps",
)
async def tell_steps(request: Request, resident: ActiveResident, body: StepsBody) -> StepsAnswer:
    """Count the steps of this phone, today's only; a later count earns the difference."""
    device_id = resident.caller.device_id
    if device_id is None:
        raise ProblemError("signed_out")
    asked = Walk(
        align_id(new_id(now_us=rooms_of(request).clock())),
        resident.person.id,
        device_id,
        body.programme,
        body.day,
        body.steps,
        resident.caller.app_version,
    )
    walked: Walked = await ask_teller(request, WALK, asked)
    return StepsAnswer(**msgspec.structs.asdict(walked))


@router.get(
    "/points/offers",
    responses=documented(),
    summary="What earns points and what may be exchanged",
    operation_id="list_offers",
)
async def offers(request: Request, resident: AnyResident) -> OffersAnswer:
    """List what steps earn of which money, and what may become what."""
    del resident
    async with read(rooms_of(request).engine) as connection:
        rules, rates = await list_step_rules(connection), await list_rates(connection)
    return OffersAnswer(
        steps=[
            StepRuleAnswer(
                programme=one.programme,
                ladder=[RungAnswer(steps=rung.steps, yen=rung.yen) for rung in one.ladder],
                month_max_yen=one.month_max_yen,
                first_day=one.first_day,
                last_day=one.last_day,
            )
            for one in rules
        ],
        exchanges=[RateAnswer(**msgspec.structs.asdict(one)) for one in rates],
    )


@router.post(
    "/exchanges",
    status_code=201,
    responses=documented(400, 402, 403, 404, 409, 410, 423),
    summary="Exchange points",
    operation_id="exchange",
    openapi_extra=KEYED,
)
async def exchange(
    request: Request, resident: ActiveResident, body: ExchangeBody
) -> ExchangedAnswer:
    """Change free money into another one's; no more is taken than what comes in costs."""
    asked = Exchange(
        exchange_id=align_id(new_id(now_us=rooms_of(request).clock())),
        person_id=resident.person.id,
        idempotency_key=key_of(request),
        programme=body.programme,
        to=body.to,
        offered_yen=body.amount_yen,
        app_version=resident.caller.app_version,
    )
    exchanged: Exchanged = await ask_teller(request, EXCHANGE, asked)
    return ExchangedAnswer(
        id=public_id("exc", exchanged.row.id),
        programme=body.programme,
        to=body.to,
        given_yen=exchanged.row.given_yen,
        received_yen=exchanged.row.received_yen,
    )
