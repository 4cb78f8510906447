"""``/office/v1``: applications as the office sees them: on paper, in the list, one looked up.

A paper makes the same application as the app. What stands on it of a person's name and address is
hashed under a key before anything is written, and appears in no list and no trail.
"""

from datetime import date
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.api.office_forms import In, Line, Out, Page, PersonId, WhyIn, read_id
from wallet.api.office_guard import Acting, Details, needs
from wallet.api.office_openapi import REFUSALS
from wallet.api.problems import ProblemError
from wallet.auth.staff_rules import Permission, check_reason
from wallet.core.clock import rfc3339, to_microseconds
from wallet.core.ids import parse_public_id, public_id
from wallet.programmes.basics import is_code
from wallet.vouchers.apply import Application, Wish, apply, find_application, give_wallet, holder_of
from wallet.vouchers.apply_rules import UNITS_MAX, ApplicantFacts, SoftIdentity
from wallet.vouchers.campaigns import find_campaign
from wallet.vouchers.check import decide_application
from wallet.vouchers.profiles import Profile, add_to_list, keep_profile
from wallet.vouchers.results import Place, list_applications, places_of

router = APIRouter(prefix="/office/v1", tags=["staff: applications"], responses=REFUSALS)

Reading = Annotated[Acting, Depends(needs(Permission.CAMPAIGN_READ))]
Writing = Annotated[Acting, Depends(needs(Permission.CAMPAIGN_WRITE))]

BirthYear = Annotated[int, Field(ge=1880, le=2200)]
Children = Annotated[int, Field(ge=0, le=20)]
FrameCode = Annotated[str, Field(pattern=r"^[a-z0-9-]{1,64}$")]
WalletId = Annotated[str, Field(pattern=r"^wal_[0-9a-f]{32}$")]

LISTED_MAX: Final = 200
"""People put on a list by one request."""

_NO_CODE: Final = {
    "pointer": "/path/list_code",
    "code": "invalid",
    "detail": "use 1 to 64 small letters, digits and hyphens, unlike any telephone number",
}

_STATES: Final = r"^(submitted|accepted|rejected|won|lost|withdrawn)$"


class IdentityIn(In):
    """What stands on a paper; it is hashed and not kept."""

    name: Annotated[Line, Field(min_length=1, max_length=100)]
    birth_date: date
    address: Annotated[Line, Field(min_length=1, max_length=200)]

    def identity(self) -> SoftIdentity:
        """Return it as the room knows it."""
        return SoftIdentity(name=self.name, birth_date=self.birth_date, address=self.address)


class ListIn(WhyIn):
    """Who shall be on a list."""

    person_ids: Annotated[list[PersonId], Field(min_length=1, max_length=LISTED_MAX)]


class ListedOut(Out):
    """How many of them are new on the list."""

    list_code: str
    added: int


class PaperIn(In):
    """An application on paper or at the counter.

    Of somebody the city knows: ``person_id``, or a ``wallet_id`` alone. Of anybody else: what
    stands on the paper (``identity``), and whether it shows that the frame is for them.
    """

    frame: FrameCode
    units: Annotated[int, Field(ge=1, le=UNITS_MAX)]
    channel: Literal["paper", "counter"] = "paper"
    person_id: PersonId | None = None
    wallet_id: WalletId | None = None
    identity: IdentityIn | None = None
    resident: bool | None = None
    children: Children | None = None


class DecisionIn(WhyIn):
    """Accept, or reject with a code of why; ``reason`` is for the trail."""

    accept: bool
    because: Annotated[str, Field(pattern=r"^[a-z_]{1,40}$")] | None = None


class WalletIn(In):
    """Where the vouchers shall go."""

    wallet_id: WalletId


class ProfileIn(WhyIn):
    """What a document shows of a resident, in place of what was kept before."""

    birth_year: BirthYear | None = None
    area_code: Annotated[str, Field(pattern=r"^[0-9A-Za-z-]{1,16}$")] | None = None
    children: Children | None = None
    identity: IdentityIn | None = None


class ApplicationOut(Out):
    """An application; ``reason`` says why it was rejected, or what somebody is to look at."""

    id: str
    campaign_id: str
    frame: str
    person_id: str | None
    wallet_id: str | None
    channel: str
    units: int
    state: str
    reason: str | None
    made_by: str
    created_at: str
    decided_at: str | None


class PlaceOut(Out):
    """An application in a draw: the hash to find it by in the published list, and the outcome."""

    round: int
    entry: str
    units_asked: int
    units_won: int | None
    offer: str | None
    units_bought: int | None
    deadline: str | None


class LookedUpOut(ApplicationOut):
    """An application with its places in the draws."""

    places: list[PlaceOut]


class ApplicationListOut(Out):
    """One page of applications, newest first."""

    data: list[ApplicationOut]
    has_more: bool
    next_cursor: str | None


class ApplicationPage(Page):
    """Which page of which applications; ``only_flagged`` are those that wait for somebody."""

    state: Annotated[str, Field(pattern=_STATES)] | None = None
    only_flagged: bool = False


@router.get("/campaigns/{campaign_id}/applications", summary="List a campaign's applications")
async def list_(
    acting: Reading, campaign_id: str, page: Annotated[ApplicationPage, Query()]
) -> ApplicationListOut:
    """List applications, newest first; whose they are stands there by public ids only."""
    parsed = read_id("cmp", campaign_id, "campaign_unknown")

    async def work(connection: AsyncConnection) -> list[Application]:
        await find_campaign(connection, parsed)
        return await list_applications(
            connection,
            parsed,
            state=page.state,
            only_flagged=page.only_flagged,
            before=page.after("app"),
            limit=page.limit + 1,
        )

    found = await acting.run("application.list", work, subject=campaign_id)
    shown = [ApplicationOut(**_application(one)) for one in found[: page.limit]]
    has_more = len(found) > len(shown)
    return ApplicationListOut(
        data=shown, has_more=has_more, next_cursor=shown[-1].id if has_more else None
    )


@router.post(
    "/campaigns/{campaign_id}/applications", status_code=201, summary="Enter a paper application"
)
async def enter(
    acting: Writing, response: Response, campaign_id: str, body: PaperIn
) -> ApplicationOut:
    """Enter an application for somebody; the same one again answers 200."""
    wish = Wish(
        campaign_id=read_id("cmp", campaign_id, "campaign_unknown"),
        frame=body.frame,
        units=body.units,
        channel=body.channel,
        wallet_id=_parsed("wal", body.wallet_id, "wallet_unknown"),
        person_id=_parsed("per", body.person_id, "person_unknown"),
        identity=None if body.identity is None else body.identity.identity(),
        facts=ApplicantFacts(
            resident=body.resident,
            birth_year=None if body.identity is None else body.identity.birth_date.year,
            children=body.children,
        ),
    )

    async def work(connection: AsyncConnection) -> tuple[Application, bool]:
        made, is_new = await apply(
            connection,
            wish=wish,
            made_by=acting.actor,
            pepper=acting.office.pepper,
            now_us=acting.now_us,
        )
        await _check_own_affair(acting, connection, made)
        return made, is_new

    made, is_new = await acting.act(
        "application.enter", work, subject=campaign_id, tell=lambda done: _trail(done[0])
    )
    response.status_code = 201 if is_new else 200
    return ApplicationOut(**_application(made))


@router.get("/applications/{application_id}", summary="Look an application up")
async def look_up(acting: Reading, application_id: str) -> LookedUpOut:
    """Return an application and its places in the draws, for whoever asks what became of theirs."""
    parsed = read_id("app", application_id, "application_unknown")

    async def work(connection: AsyncConnection) -> tuple[Application, list[Place]]:
        found = await find_application(connection, parsed)
        await _check_own_affair(acting, connection, found)
        return found, await places_of(connection, parsed)

    found, places = await acting.act("application.view", work, subject=application_id)
    return LookedUpOut(**_application(found), places=[_place(one) for one in places])


@router.post("/applications/{application_id}/decision", summary="Accept or reject an application")
async def decide(acting: Writing, application_id: str, body: DecisionIn) -> ApplicationOut:
    """Decide an application that waits for somebody, or take a decision back."""
    parsed = read_id("app", application_id, "application_unknown")
    because = None if body.accept else body.because or ""

    async def work(connection: AsyncConnection) -> Application:
        check_reason(body.reason)
        found = await find_application(connection, parsed)
        await _check_own_affair(acting, connection, found)
        return await decide_application(
            connection, application_id=parsed, reason=because, now_us=acting.now_us
        )

    decided = await acting.act(
        "application.decide", work, subject=application_id, reason=body.reason, tell=_trail
    )
    return ApplicationOut(**_application(decided))


@router.post("/applications/{application_id}/wallet", summary="Give a paper's units a wallet")
async def assign(acting: Writing, application_id: str, body: WalletIn) -> ApplicationOut:
    """Say, once, to which wallet the vouchers of a paper shall go, such as that of a new card."""
    parsed = read_id("app", application_id, "application_unknown")
    wallet_id = read_id("wal", body.wallet_id, "wallet_unknown")

    async def work(connection: AsyncConnection) -> Application:
        # Nobody knows whose the paper is, so the wallet alone tells whom it would enrich.
        holder = await holder_of(connection, wallet_id)
        if holder is not None:
            await acting.check_own_affair(connection, public_id("per", holder))
        given = await give_wallet(connection, application_id=parsed, wallet_id=wallet_id)
        await _check_own_affair(acting, connection, given)
        return given

    given = await acting.act("application.wallet", work, subject=application_id, tell=_trail)
    return ApplicationOut(**_application(given))


@router.put(
    "/people/{person_id}/profile", status_code=204, summary="Write down what a document shows"
)
async def write_profile(acting: Writing, person_id: str, body: ProfileIn) -> None:
    """Keep the year of birth, the district and the children, and hashes of the rest."""
    parsed = read_id("per", person_id, "person_unknown")

    async def work(connection: AsyncConnection) -> None:
        check_reason(body.reason)
        await acting.check_own_affair(connection, person_id)
        await keep_profile(
            connection,
            person_id=parsed,
            profile=Profile(
                birth_year=body.birth_year,
                area_code=body.area_code,
                children=body.children,
                identity=None if body.identity is None else body.identity.identity(),
            ),
            pepper=acting.office.pepper,
            now_us=acting.now_us,
        )

    await acting.act("person.profile", work, subject=person_id, reason=body.reason)


@router.post("/eligibility-lists/{list_code}", summary="Put people on a list")
async def extend_list(acting: Writing, list_code: str, body: ListIn) -> ListedOut:
    """Put people on a list that a programme's eligibility names; who is on it stays so."""
    if not is_code(list_code):
        raise ProblemError("parameter_invalid", errors=[_NO_CODE])
    person_ids = [read_id("per", one, "person_unknown") for one in body.person_ids]

    async def work(connection: AsyncConnection) -> int:
        check_reason(body.reason)
        for one in body.person_ids:
            await acting.check_own_affair(connection, one)
        return await add_to_list(
            connection, list_code=list_code, person_ids=person_ids, now_us=acting.now_us
        )

    added = await acting.act(
        "eligibility_list.extend",
        work,
        subject=list_code,
        reason=body.reason,
        tell=lambda added: {"asked": len(person_ids), "added": added},
    )
    return ListedOut(list_code=list_code, added=added)


async def _check_own_affair(
    acting: Acting, connection: AsyncConnection, found: Application
) -> None:
    if found.person_id is not None:
        await acting.check_own_affair(connection, public_id("per", found.person_id))


def _parsed(prefix: str, text: str | None, unknown: str) -> UUID | None:
    if text is None:
        return None
    parsed = parse_public_id(prefix, text)
    if parsed is None:
        raise ProblemError(unknown)
    return parsed


def _trail(made: Application) -> Details:
    """Return what of an application the trail names; nobody's name is in it."""
    return {
        "application": public_id("app", made.id),
        "frame": made.frame,
        "units": made.units_asked,
        "state": made.state,
    }


def _application(found: Application) -> dict[str, Any]:
    return {
        "id": public_id("app", found.id),
        "campaign_id": public_id("cmp", found.campaign_id),
        "frame": found.frame,
        "person_id": None if found.person_id is None else public_id("per", found.person_id),
        "wallet_id": None if found.wallet_id is None else public_id("wal", found.wallet_id),
        "channel": found.channel,
        "units": found.units_asked,
        "state": found.state,
        "reason": found.reason,
        "made_by": found.made_by,
        "created_at": rfc3339(to_microseconds(found.created_at)),
        "decided_at": None
        if found.decided_at is None
        else rfc3339(to_microseconds(found.decided_at)),
    }


def _place(place: Place) -> PlaceOut:
    return PlaceOut(
        round=place.round,
        entry=place.entry.hex(),
        units_asked=place.units_asked,
        units_won=place.units_won,
        offer=place.offer,
        units_bought=place.units_bought,
        deadline=None if place.deadline is None else rfc3339(to_microseconds(place.deadline)),
    )
