"""``/app/v1/campaigns`` and ``/app/v1/applications``: applying for vouchers, and what came of it.

Whoever has applied sees so for ever after, with where it stands in words; nobody has to guess from
a button that is gone. An application is the same before and after a lost answer: sending it again
tells of the one that is there.
"""

from datetime import date, datetime
from functools import partial
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.api.problems import ProblemError
from wallet.api.resident import (
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
from wallet.api.resident_bodies import Id
from wallet.api.wording_campaigns import REASON_TEXTS, STATE_TEXTS
from wallet.core.database import read, write
from wallet.core.ids import public_id
from wallet.people.queries import Role, list_reach
from wallet.programmes.terms import Terms
from wallet.vouchers.apply import Application, Wish, apply, find_application, withdraw
from wallet.vouchers.apply_rules import UNITS_MAX
from wallet.vouchers.campaigns import (
    Campaign,
    find_campaign,
    find_frames,
    list_campaigns,
    read_story,
)
from wallet.vouchers.campaigns_rules import State, is_public
from wallet.vouchers.draw import document_of, list_draws
from wallet.vouchers.results import Place, applications_of, is_told, places_of

router = APIRouter(prefix="/app/v1", route_class=AppRoute, tags=["campaigns"])

PAGE_MAX: Final = 50

_PUBLIC: Final = frozenset(state for state in State if is_public(state))


class FrameAnswer(AppAnswer):
    """A frame: what a unit costs and is worth in yen, how many there are, and for whom."""

    code: str
    name: str
    price: int
    face: int
    units: int
    units_per_person: int
    residents_only: bool
    min_age: int | None
    max_age: int | None
    children_min: int


class CampaignAnswer(AppAnswer):
    """A campaign; ``accepts`` says whether an application would be taken now."""

    id: str
    code: str
    name: str
    state: str
    mode: str
    suspended: bool
    accepts: bool
    apply_from: datetime | None
    apply_until: datetime | None
    results_on: date | None
    purchase_days: int
    purchase_from: datetime | None
    purchase_until: datetime | None
    use_from: date
    use_until: date
    units_per_person: int | None
    frames: list[FrameAnswer]


class CampaignsAnswer(AppAnswer):
    """Every campaign that is public, the newest first."""

    data: list[CampaignAnswer]


class HappeningAnswer(AppAnswer):
    """One line of what has happened, as anybody may read it."""

    text: str
    at: datetime


class CampaignStoryAnswer(CampaignAnswer):
    """A campaign with its story, and what is published of its draws."""

    story: list[HappeningAnswer]
    draws: list[dict[str, Any]]


class ApplyBody(AppBody):
    """How many units of which frame, for one's own wallet or that of a ward."""

    campaign_id: Id
    frame: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,64}$")]
    units: Annotated[int, Field(ge=1, le=UNITS_MAX)]
    wallet_id: Id | None = None


class PlaceAnswer(AppAnswer):
    """One's place in a draw: look for ``entry`` in the published list.

    ``units_won`` is null until results are told; ``offer`` is what became of a win.
    """

    round: int
    entry: str
    units_asked: int
    units_won: int | None
    offer: Literal["offered", "bought", "lapsed"] | None
    units_bought: int | None
    deadline: datetime | None


class ApplicationAnswer(AppAnswer):
    """An application and where it stands; ``text`` says it in words."""

    id: str
    campaign_id: str
    frame: str
    wallet_id: str | None
    channel: str
    units: int
    state: str
    reason: str | None
    text: str
    created_at: datetime


class ApplicationPlacesAnswer(ApplicationAnswer):
    """An application with its places in the draws."""

    places: list[PlaceAnswer]


class ApplicationsAnswer(AppAnswer):
    """One page of one's applications and one's wards', newest first."""

    data: list[ApplicationAnswer]
    has_more: bool
    next_cursor: str | None


@router.get(
    "/campaigns", responses=documented(), summary="List campaigns", operation_id="list_campaigns"
)
async def campaigns(request: Request, resident: AnyResident) -> CampaignsAnswer:
    """Return every campaign that is public."""
    del resident
    rooms = rooms_of(request)
    async with read(rooms.engine) as connection:
        found = await list_campaigns(connection, states=_PUBLIC, limit=PAGE_MAX)
        told = [
            CampaignAnswer(**_campaign(one, await find_frames(connection, one.terms)))
            for one in found
        ]
    return CampaignsAnswer(data=told)


@router.get(
    "/campaigns/{campaign_id}",
    responses=documented(404),
    summary="Get a campaign, its story and its draws",
    operation_id="get_campaign",
)
async def campaign(
    request: Request, resident: AnyResident, campaign_id: str
) -> CampaignStoryAnswer:
    """Return a campaign with everything by which anybody may check its draws."""
    del resident
    parsed = id_in("cmp", campaign_id, code="campaign_unknown")
    async with read(rooms_of(request).engine) as connection:
        found = await find_campaign(connection, parsed)
        if not is_public(found.state):
            raise ProblemError("campaign_unknown")
        frames = await find_frames(connection, found.terms)
        story = await read_story(connection, parsed)
        draws = [
            document_of(
                one,
                code=found.code,
                with_result=await is_told(connection, found, one.round),
            )
            for one in await list_draws(connection, parsed)
        ]
    return CampaignStoryAnswer(
        **_campaign(found, frames),
        story=[HappeningAnswer(text=one.public_text, at=one.created_at) for one in story],
        draws=draws,
    )


@router.post(
    "/applications",
    status_code=201,
    responses=documented(404, 409, 423),
    summary="Apply for units of a frame",
    operation_id="create_application",
)
async def create(
    request: Request, response: Response, resident: ActiveResident, body: ApplyBody
) -> ApplicationAnswer:
    """Apply once for each frame; the same again answers 200 with the application that is there."""
    rooms = rooms_of(request)
    wish = Wish(
        campaign_id=id_in("cmp", body.campaign_id, code="campaign_unknown"),
        frame=body.frame,
        units=body.units,
        channel="app",
        wallet_id=await _own_wallet(request, resident, body.wallet_id),
    )
    work = partial(
        apply,
        wish=wish,
        made_by=public_id("per", resident.person.id),
        pepper=rooms.pepper,
        now_us=rooms.clock(),
    )
    made, is_new = await write(rooms.engine, work)
    response.status_code = 201 if is_new else 200
    return ApplicationAnswer(**_application(made))


@router.get(
    "/applications",
    responses=documented(),
    summary="List my applications",
    operation_id="list_applications",
)
async def applications(
    request: Request,
    resident: AnyResident,
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 20,
    cursor: Annotated[str | None, Query(pattern=r"^app_[0-9a-f]{32}$")] = None,
) -> ApplicationsAnswer:
    """List one's applications and one's wards'."""
    before = None if cursor is None else id_in("app", cursor, code="application_unknown")
    async with read(rooms_of(request).engine) as connection:
        found = await applications_of(
            connection, resident.person.id, before=before, limit=limit + 1
        )
    shown = found[:limit]
    has_more = len(found) > len(shown)
    return ApplicationsAnswer(
        data=[ApplicationAnswer(**_application(one)) for one in shown],
        has_more=has_more,
        next_cursor=public_id("app", shown[-1].id) if has_more else None,
    )


@router.get(
    "/applications/{application_id}",
    responses=documented(404),
    summary="Get an application and its places in the draws",
    operation_id="get_application",
)
async def application(
    request: Request, resident: AnyResident, application_id: str
) -> ApplicationPlacesAnswer:
    """Return an application, and by which hash to find it in the published lists."""
    async with read(rooms_of(request).engine) as connection:
        found = await _find_mine(connection, resident, application_id)
        places = await places_of(connection, found.id)
    return ApplicationPlacesAnswer(
        **_application(found), places=[PlaceAnswer(**_place(one)) for one in places]
    )


@router.delete(
    "/applications/{application_id}",
    status_code=204,
    responses=documented(404, 409),
    summary="Withdraw an application",
    operation_id="withdraw_application",
)
async def take_back(request: Request, resident: ActiveResident, application_id: str) -> None:
    """Take an application back while they are open; another one may be sent in."""
    rooms = rooms_of(request)

    async def work(connection: AsyncConnection) -> None:
        found = await _find_mine(connection, resident, application_id)
        await withdraw(connection, application_id=found.id, now_us=rooms.clock())

    await write(rooms.engine, work)


async def _own_wallet(request: Request, resident: Resident, wallet_id: str | None) -> UUID:
    """Return one's own wallet, or the one that is named of a ward; a proxy applies for nobody."""
    asked = None if wallet_id is None else id_in("wal", wallet_id, code="wallet_unknown")
    async with read(rooms_of(request).engine) as connection:
        reach = await list_reach(connection, person_id=resident.person.id)
    for one in reach:
        is_meant = one.role is Role.OWN if asked is None else one.wallet_id == asked
        if is_meant and one.role in {Role.OWN, Role.GUARDIAN}:
            return one.wallet_id
    raise ProblemError("wallet_unknown")


async def _find_mine(
    connection: AsyncConnection, resident: Resident, application_id: str
) -> Application:
    """Return an application of the caller's or a ward's; any other is unknown to them."""
    parsed = id_in("app", application_id, code="application_unknown")
    found = await find_application(connection, parsed)
    if found.person_id != resident.person.id:
        reach = await list_reach(connection, person_id=resident.person.id)
        mine = {one.wallet_id for one in reach if one.role in {Role.OWN, Role.GUARDIAN}}
        if found.wallet_id not in mine:
            raise ProblemError("application_unknown")
    return found


def _campaign(found: Campaign, frames: dict[str, Terms]) -> dict[str, Any]:
    terms = found.terms
    return {
        "id": public_id("cmp", found.id),
        "code": found.code,
        "name": terms.name,
        "state": found.state,
        "mode": terms.mode,
        "suspended": found.suspended_at is not None,
        "accepts": found.state is State.APPLYING and found.suspended_at is None,
        "apply_from": terms.apply_from,
        "apply_until": terms.apply_until,
        "results_on": terms.results_on,
        "purchase_days": terms.purchase_days,
        "purchase_from": terms.purchase_from,
        "purchase_until": terms.purchase_until,
        "use_from": terms.use_from,
        "use_until": terms.use_until,
        "units_per_person": terms.units_per_person,
        "frames": [_frame(code, frames[code]) for code in terms.frames if code in frames],
    }


def _frame(code: str, terms: Terms) -> FrameAnswer:
    frame, eligibility = terms.frame, terms.eligibility
    return FrameAnswer(
        code=code,
        name=terms.name,
        price=0 if frame is None else frame.price_yen,
        face=0 if frame is None else frame.face_yen,
        units=0 if frame is None else frame.sets_total,
        units_per_person=0 if frame is None else frame.sets_per_person,
        residents_only=eligibility.resident is True,
        min_age=eligibility.min_age,
        max_age=eligibility.max_age,
        children_min=eligibility.children_min,
    )


def _application(found: Application) -> dict[str, Any]:
    is_rejected = found.state == "rejected"
    reason = found.reason if is_rejected else None
    words = STATE_TEXTS[found.state]
    if reason is not None:
        words += REASON_TEXTS[reason]
    return {
        "id": public_id("app", found.id),
        "campaign_id": public_id("cmp", found.campaign_id),
        "frame": found.frame,
        "wallet_id": None if found.wallet_id is None else public_id("wal", found.wallet_id),
        "channel": found.channel,
        "units": found.units_asked,
        "state": found.state,
        "reason": reason,
        "text": words,
        "created_at": found.created_at,
    }


def _place(place: Place) -> dict[str, Any]:
    return {
        "round": place.round,
        "entry": place.entry.hex(),
        "units_asked": place.units_asked,
        "units_won": place.units_won,
        "offer": place.offer,
        "units_bought": place.units_bought,
        "deadline": place.deadline,
    }
