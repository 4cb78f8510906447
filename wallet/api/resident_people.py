"""``/app/v1/me…``: oneself, one's contacts, helpers and wards; and the tap that stops it all."""

from datetime import datetime
from functools import partial
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Request
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.api.problems import ProblemError
from wallet.api.resident import (
    ActiveResident,
    AnyResident,
    AppAnswer,
    AppBody,
    AppRoute,
    address_of,
    answer,
    approve,
    documented,
    id_in,
    rooms_of,
    write_recorded,
)
from wallet.api.resident_bodies import Code, Id, Kind
from wallet.api.resident_sign_in import ContactBody, StartedAnswer, send
from wallet.auth.proofs import key_named_by, thumbprint_of
from wallet.auth.use_step_up import use_step_up
from wallet.core.database import read
from wallet.core.ids import public_id
from wallet.people.contact_codes import Asker
from wallet.people.contacts import change_contact, list_contacts
from wallet.people.freeze import freeze, unfreeze
from wallet.people.guardians import end_guardianship
from wallet.people.helpers import (
    Help,
    Wanted,
    accept_help,
    invite_helper,
    list_help,
    revoke_help,
)
from wallet.people.queries import Role, list_reach
from wallet.people.rules import masked

router = APIRouter(route_class=AppRoute)


class ContactAnswer(AppAnswer):
    """A contact, for its owner to recognise."""

    kind: Kind
    shown: str


class WalletAnswer(AppAnswer):
    """A wallet that somebody reaches, as whom, and how much of it; before ``usable_from`` none."""

    id: str
    role: Role
    payment_limit_yen: int
    daily_limit_yen: int
    usable_from: datetime | None


class MeAnswer(AppAnswer):
    """Who one is to the city. The support code names one on the telephone and opens nothing."""

    id: str
    tier: str
    state: Literal["active", "frozen"]
    frozen_because: str | None
    resident: bool | None
    support_code: str
    cooling_until: datetime | None
    contacts: list[ContactAnswer]
    wallets: list[WalletAnswer]


class VerifyContactBody(AppBody):
    """The code that was sent to the new contact."""

    code_id: Id
    code: Code


class InviteBody(AppBody):
    """What a helper is wanted for; limits in yen for a proxy, none for one who only looks."""

    wallet_id: Id
    kind: Literal["view", "proxy"]
    payment_limit_yen: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    daily_limit_yen: Annotated[int, Field(ge=0, le=1_000_000)] = 0


class InvitedAnswer(AppAnswer):
    """An invitation to hand over; the code is told once."""

    id: str
    code: str
    expires_in: int


class AcceptHelpBody(AppBody):
    """The code of an invitation to help."""

    code: Annotated[str, Field(min_length=1, max_length=64)]


class HelpAnswer(AppAnswer):
    """A helper, as the owner or the helper sees it."""

    id: str
    wallet_id: str
    kind: Literal["view", "proxy"]
    payment_limit_yen: int
    daily_limit_yen: int
    is_owner: bool
    accepted_at: datetime | None
    usable_from: datetime | None
    expires_at: datetime | None


class HelpsAnswer(AppAnswer):
    """Who helps one, and whom one helps."""

    data: list[HelpAnswer]


def _help(one: Help) -> HelpAnswer:
    return HelpAnswer(
        id=public_id("hlp", one.id),
        wallet_id=public_id("wal", one.wallet_id),
        kind=one.kind,
        payment_limit_yen=one.payment_limit_yen,
        daily_limit_yen=one.daily_limit_yen,
        is_owner=one.is_owner,
        accepted_at=one.accepted_at,
        usable_from=one.cooling_until,
        expires_at=one.expires_at if one.accepted_at is None else None,
    )


@router.get("/me", responses=documented(), summary="See who I am", operation_id="get_me")
async def me(request: Request, resident: AnyResident) -> MeAnswer:
    """Return what the city knows of the caller, and which wallets they reach."""
    rooms, person = rooms_of(request), resident.person
    async with read(rooms.engine) as connection:
        contacts = await list_contacts(connection, person_id=person.id, pepper=rooms.pepper)
        reach = await list_reach(connection, person_id=person.id)
    return MeAnswer(
        id=public_id("per", person.id),
        tier=person.tier,
        state="frozen" if person.state == "frozen" else "active",
        frozen_because=person.frozen_because,
        resident=person.resident,
        support_code=person.support_code,
        cooling_until=person.cooling_until if person.cools_off(now_us=rooms.clock()) else None,
        contacts=[
            ContactAnswer(kind=kind.value, shown=masked(one)) for kind, one in contacts.items()
        ],
        wallets=[
            WalletAnswer(
                id=public_id("wal", one.wallet_id),
                role=one.role,
                payment_limit_yen=one.payment_limit_yen,
                daily_limit_yen=one.daily_limit_yen,
                usable_from=one.usable_from,
            )
            for one in reach
        ],
    )


@router.post(
    "/me/freeze",
    status_code=204,
    responses=documented(),
    summary="Stop everything of mine at once",
    operation_id="freeze_me",
)
async def freeze_me(request: Request, resident: AnyResident) -> None:
    """Freeze with one tap; a second one changes nothing."""
    rooms = rooms_of(request)
    work = partial(freeze, person_id=resident.person.id, because="own", now_us=rooms.clock())
    await write_recorded(request, work, action="person.freeze", whose=resident.person.id)


@router.post(
    "/me/unfreeze",
    status_code=204,
    responses=documented(403, 429),
    summary="Go on",
    operation_id="unfreeze_me",
)
async def unfreeze_me(request: Request, resident: AnyResident) -> None:
    """Thaw, with a confirmation that cannot be phished; everything cools off."""
    now_us = rooms_of(request).clock()
    if resident.person.state == "active":
        return
    approval = await approve(request, resident, change="unfreeze", in_set_up=False)

    async def work(connection: AsyncConnection) -> None:
        if approval is None:
            raise ProblemError("step_up_required")
        await use_step_up(connection, approval=approval, now_us=now_us)
        await unfreeze(connection, person_id=resident.person.id, now_us=now_us)

    await write_recorded(request, work, action="person.unfreeze", whose=resident.person.id)


@router.post(
    "/me/contacts",
    status_code=202,
    responses=documented(423, 429),
    summary="Send a code to a new contact of mine",
    operation_id="start_my_contact",
)
async def start_contact(
    request: Request, resident: ActiveResident, body: ContactBody
) -> StartedAnswer:
    """Send a code; the answer is the same whether the contact is somebody's or nobody's."""
    return await send(request, body, _asker(request, resident.person.id))


@router.post(
    "/me/contacts/verify",
    status_code=204,
    responses=documented(403, 409, 423, 429),
    summary="Change my contact",
    operation_id="verify_my_contact",
)
async def verify_contact(
    request: Request, resident: ActiveResident, body: VerifyContactBody
) -> None:
    """Take the contact that the code was sent to in place of the old one of its kind."""
    rooms = rooms_of(request)
    work = partial(
        change_contact,
        caller=resident.caller,
        approval=await approve(request, resident, change="contact"),
        code_id=id_in("cco", body.code_id, code="contact_code_wrong"),
        code=body.code,
        asker=_asker(request, resident.person.id),
        pepper=rooms.pepper,
        now_us=rooms.clock(),
    )
    answer(await write_recorded(request, work, action="contact.change", whose=resident.person.id))


@router.get("/helpers", responses=documented(), summary="List helpers", operation_id="list_helpers")
async def helpers(request: Request, resident: AnyResident) -> HelpsAnswer:
    """List who helps the caller and whom the caller helps."""
    rooms = rooms_of(request)
    async with read(rooms.engine) as connection:
        found = await list_help(connection, person_id=resident.person.id, now_us=rooms.clock())
    return HelpsAnswer(data=[_help(one) for one in found])


@router.post(
    "/helpers",
    status_code=201,
    responses=documented(403, 404, 409, 423, 429),
    summary="Invite a helper",
    operation_id="invite_helper",
)
async def invite(request: Request, resident: ActiveResident, body: InviteBody) -> InvitedAnswer:
    """Invite somebody to look into a wallet of the caller's, or to pay out of it within limits."""
    rooms, now_us = rooms_of(request), rooms_of(request).clock()
    wallet_id = id_in("wal", body.wallet_id, code="wallet_unknown")
    approval = await approve(request, resident, change="helper", in_set_up=False)

    async def work(connection: AsyncConnection) -> InvitedAnswer:
        if approval is None:
            raise ProblemError("step_up_required")
        await use_step_up(connection, approval=approval, now_us=now_us)
        invitation = await invite_helper(
            connection,
            owner_id=resident.person.id,
            wallet_id=wallet_id,
            wanted=Wanted(
                kind=body.kind,
                payment_limit_yen=body.payment_limit_yen,
                daily_limit_yen=body.daily_limit_yen,
            ),
            pepper=rooms.pepper,
            now_us=now_us,
        )
        return InvitedAnswer(
            id=public_id("hlp", invitation.helper_id),
            code=invitation.code,
            expires_in=invitation.expires_in_s,
        )

    return await write_recorded(
        request, work, action="helper.invite", whose=resident.person.id, kind=body.kind
    )


@router.post(
    "/helpers/accept",
    status_code=201,
    responses=documented(403, 404, 409, 423),
    summary="Become a helper",
    operation_id="accept_help",
)
async def accept(request: Request, resident: ActiveResident, body: AcceptHelpBody) -> HelpAnswer:
    """Take an invitation on; the owner hears of it, and a proxy pays nothing for the first day."""
    rooms = rooms_of(request)
    work = partial(
        accept_help,
        person_id=resident.person.id,
        code=body.code,
        pepper=rooms.pepper,
        now_us=rooms.clock(),
    )
    return _help(
        await write_recorded(request, work, action="helper.accept", whose=resident.person.id)
    )


@router.delete(
    "/helpers/{helper_id}",
    status_code=204,
    responses=documented(404),
    summary="End help",
    operation_id="revoke_help",
)
async def revoke(request: Request, resident: AnyResident, helper_id: str) -> None:
    """End a helper's rights or an invitation, as the owner or as the helper; one tap is enough."""
    rooms = rooms_of(request)
    work = partial(
        revoke_help,
        person_id=resident.person.id,
        helper_id=id_in("hlp", helper_id, code="helper_unknown"),
        now_us=rooms.clock(),
    )
    await write_recorded(request, work, action="helper.revoke", whose=resident.person.id)


@router.delete(
    "/guardianships/{wallet_id}",
    status_code=204,
    responses=documented(404, 423),
    summary="Stop being a guardian",
    operation_id="end_guardianship",
)
async def end(request: Request, resident: ActiveResident, wallet_id: str) -> None:
    """Stop being the guardian of a wallet; the counter makes new ones."""
    rooms = rooms_of(request)
    work = partial(
        end_guardianship,
        guardian_id=resident.person.id,
        wallet_id=id_in("wal", wallet_id, code="wallet_unknown"),
        now_us=rooms.clock(),
    )
    if not await write_recorded(request, work, action="guardianship.end", whose=resident.person.id):
        raise ProblemError("wallet_unknown")


def _asker(request: Request, person_id: UUID) -> Asker:
    """Return who asks: the person, by the device key that has signed this request."""
    thumbprint = thumbprint_of(key_named_by(request.headers["dpop"]))
    return Asker(thumbprint=thumbprint, person_id=person_id, address=address_of(request))
