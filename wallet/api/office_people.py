"""``/office/v1/people``: residents as the counter and the help desk see them, and how they help.

What is seen is masked, and that somebody has seen it stands in the trail before they see it. What
is not masked takes a reason. Searches are exact, in the body (an address ends up in logs), and
whoever misses too often is stopped.
"""

from typing import Annotated, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Depends
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.api.office_approvals import ApprovalOut, ask
from wallet.api.office_forms import In, Line, Out, WhyIn, read_id
from wallet.api.office_guard import Acting, Details, needs
from wallet.api.office_openapi import REFUSALS
from wallet.auth.guess_limits import Subjects, allow, fail, subjects_of
from wallet.auth.staff_approvals import Draft
from wallet.auth.staff_rules import Action, Permission, check_reason
from wallet.core.clock import rfc3339, to_microseconds
from wallet.core.ids import public_id
from wallet.core.refusals import Refusal, RefusedError
from wallet.ops.audit import append
from wallet.people.contacts import list_contacts
from wallet.people.counter_queries import PersonView, SearchBy, search_person, view_person
from wallet.people.freeze import freeze, freeze_by_support
from wallet.people.rules import ContactKind, read_contact, read_support_code

router = APIRouter(prefix="/office/v1", tags=["staff: people"], responses=REFUSALS)

Searching = Annotated[Acting, Depends(needs(Permission.PERSON_SEARCH))]
Reading = Annotated[Acting, Depends(needs(Permission.PERSON_READ))]
Revealing = Annotated[Acting, Depends(needs(Permission.PERSON_REVEAL))]
Freezing = Annotated[Acting, Depends(needs(Permission.PERSON_FREEZE))]
Unfreezing = Annotated[Acting, Depends(needs(Permission.PERSON_UNFREEZE))]
Raising = Annotated[Acting, Depends(needs(Permission.PERSON_RAISE))]

Document = Literal[
    "my_number_card", "drivers_licence", "passport", "residence_card", "two_other_documents"
]
"""What was seen at the counter; never its number."""

FREEZE_BY_SUPPORT: Final = "person.freeze_by_support"


class SearchIn(In):
    """What somebody says of themselves, whole: no part of anything finds anybody."""

    by: SearchBy
    value: Annotated[Line, Field(min_length=1, max_length=254)]


class WalletOut(Out):
    """A wallet of the person's."""

    id: str
    state: str


class PersonOut(Out):
    """A person, their contacts masked."""

    id: str
    tier: str
    state: str
    frozen_because: str | None
    resident: bool | None
    opened_at: str
    contacts: dict[ContactKind, str]
    wallets: list[WalletOut]


class FoundOut(Out):
    """Nobody, or the one person the value belongs to."""

    data: list[PersonOut]


class RevealIn(WhyIn):
    """Which contacts to see in full, and why."""

    fields: Annotated[list[ContactKind], Field(min_length=1, max_length=2)]


class RevealedOut(Out):
    """The contacts in full; what the person does not have is missing."""

    contacts: dict[ContactKind, str]


class CallerIn(WhyIn):
    """What somebody on the telephone has said."""

    support_code: Annotated[Line, Field(min_length=1, max_length=20)]
    kind: ContactKind
    contact: Annotated[Line, Field(min_length=1, max_length=254)]


class FrozenOut(Out):
    """Who is frozen now; ``changed`` False: they were before."""

    person_id: str
    changed: bool


class SeenIn(WhyIn):
    """Which document was seen at the counter."""

    document: Document


class RaiseIn(SeenIn):
    """Which document was seen, and whether it says that the person lives in the city."""

    resident: bool


@router.post("/people/search", summary="Find a person")
async def search(acting: Searching, body: SearchIn) -> FoundOut:
    """Find whom a contact, a support code, a card's number or an id belongs to."""
    pepper = acting.office.pepper

    async def work(connection: AsyncConnection) -> PersonView | None:
        counted_for = await _allow_lookup(connection, acting, "office_search")
        person_id = await search_person(connection, by=body.by, value=body.value, pepper=pepper)
        if person_id is None:
            await fail(connection, kind="office_search", subjects=counted_for, now_us=acting.now_us)
            return None
        await acting.check_own_affair(connection, public_id("per", person_id))
        return await view_person(connection, person_id=person_id, pepper=pepper)

    found = await acting.act(
        "person.search", work, tell=lambda one: {"by": body.by.value, **_found(one)}
    )
    return FoundOut(data=[] if found is None else [_person(found)])


@router.get("/people/{person_id}", summary="Get a person")
async def get_person(acting: Reading, person_id: str) -> PersonOut:
    """Return a person's state, masked; that it was looked at is kept."""
    parsed, subject = _subject(person_id)

    async def work(connection: AsyncConnection) -> PersonView:
        await acting.check_own_affair(connection, subject)
        found = await view_person(connection, person_id=parsed, pepper=acting.office.pepper)
        if found is None:
            raise RefusedError("person_unknown")
        return found

    return _person(await acting.act("person.view", work, subject=subject))


@router.post("/people/{person_id}/reveal", summary="Reveal a person's contacts")
async def reveal(acting: Revealing, person_id: str, body: RevealIn) -> RevealedOut:
    """Return contacts in full, for a reason that is kept; so many a day and no more."""
    parsed, subject = _subject(person_id)

    async def work(connection: AsyncConnection) -> RevealedOut:
        check_reason(body.reason)
        await acting.check_own_affair(connection, subject)
        counted_for = await _allow_lookup(connection, acting, "office_reveal")
        pepper = acting.office.pepper
        if await view_person(connection, person_id=parsed, pepper=pepper) is None:
            raise RefusedError("person_unknown")
        contacts = await list_contacts(connection, person_id=parsed, pepper=pepper)
        await fail(connection, kind="office_reveal", subjects=counted_for, now_us=acting.now_us)
        return RevealedOut(
            contacts={kind: one.value for kind, one in contacts.items() if kind in body.fields}
        )

    return await acting.act(
        "person.reveal",
        work,
        subject=subject,
        reason=body.reason,
        tell=lambda shown: {"fields": ",".join(sorted(shown.contacts)) or "none"},
    )


@router.post("/people/{person_id}/freeze", summary="Freeze a person")
async def freeze_person(acting: Freezing, person_id: str, body: WhyIn) -> FrozenOut:
    """Freeze a person at once; letting them go on takes two."""
    parsed, subject = _subject(person_id)

    async def work(connection: AsyncConnection) -> bool:
        check_reason(body.reason)
        await acting.check_own_affair(connection, subject)
        return await freeze(connection, person_id=parsed, because="counter", now_us=acting.now_us)

    changed = await acting.act(
        "person.freeze",
        work,
        subject=subject,
        reason=body.reason,
        tell=lambda changed: {"changed": int(changed)},
    )
    return FrozenOut(person_id=subject, changed=changed)


@router.post("/freezes", summary="Freeze whoever is on the telephone")
async def freeze_caller(acting: Freezing, body: CallerIn) -> FrozenOut:
    """Freeze whom a support code and a contact name together, without showing who it is."""
    contact = read_contact(body.kind, body.contact)
    code = read_support_code(body.support_code)

    async def work(connection: AsyncConnection) -> UUID | Refusal:
        check_reason(body.reason)
        if contact is None or code is None:
            return Refusal("support_code_wrong")
        found = await freeze_by_support(
            connection,
            support_code=code,
            contact=contact,
            address=None,
            pepper=acting.office.pepper,
            now_us=acting.now_us,
        )
        if isinstance(found, Refusal):  # Committed, for that is what counts a wrong try.
            return found
        subject = public_id("per", found)
        await acting.check_own_affair(connection, subject)
        entry = acting.entry(FREEZE_BY_SUPPORT, subject=subject, reason=body.reason)
        await append(connection, entry=entry, now_us=acting.now_us)
        return found

    found = await acting.run(FREEZE_BY_SUPPORT, work, reason=body.reason)
    if isinstance(found, Refusal):
        await acting.refuse(FREEZE_BY_SUPPORT, found, reason=body.reason)
    return FrozenOut(person_id=public_id("per", found), changed=True)


@router.post("/people/{person_id}/unfreeze", status_code=202, summary="Ask to unfreeze a person")
async def ask_to_unfreeze(acting: Unfreezing, person_id: str, body: SeenIn) -> ApprovalOut:
    """Ask a colleague to agree that the person, whose document was seen, may go on."""
    _, subject = _subject(person_id)
    payload = {"document": body.document}
    return await ask(acting, Draft(Action.PERSON_UNFREEZE, subject, payload, body.reason))


@router.post("/people/{person_id}/raise", status_code=202, summary="Ask to raise a person to T3")
async def ask_to_raise(acting: Raising, person_id: str, body: RaiseIn) -> ApprovalOut:
    """Ask a colleague to agree that the counter has seen who the person is."""
    _, subject = _subject(person_id)
    payload = {"document": body.document, "resident": body.resident}
    return await ask(acting, Draft(Action.PERSON_RAISE, subject, payload, body.reason))


@router.post(
    "/people/{person_id}/device-invitation",
    status_code=202,
    summary="Ask to invite a new device of a person",
)
async def ask_to_invite_device(acting: Raising, person_id: str, body: SeenIn) -> ApprovalOut:
    """Ask a colleague to agree that the person, whose document was seen, gets a code for a device.

    For whoever has lost every device. Whoever carries it out prints the code, which is told once.
    """
    _, subject = _subject(person_id)
    payload = {"document": body.document}
    return await ask(acting, Draft(Action.PERSON_INVITE_DEVICE, subject, payload, body.reason))


async def _allow_lookup(connection: AsyncConnection, acting: Acting, kind: str) -> Subjects:
    """Return whom a look-up counts for; raises ``lookups_too_many``."""
    counted_for = subjects_of(pepper=acting.office.pepper, account=acting.actor)
    refusal = await allow(connection, kind=kind, subjects=counted_for, now_us=acting.now_us)
    if refusal is not None:
        raise RefusedError("lookups_too_many", **refusal.facts)
    return counted_for


def _subject(person_id: str) -> tuple[UUID, str]:
    parsed = read_id("per", person_id, "person_unknown")
    return parsed, public_id("per", parsed)


def _found(person: PersonView | None) -> Details:
    """Return whom a search has found, for the trail; what was typed is not kept."""
    return {"found": 0} if person is None else {"found": 1, "person": public_id("per", person.id)}


def _person(person: PersonView) -> PersonOut:
    return PersonOut(
        id=public_id("per", person.id),
        tier=person.tier,
        state=person.state,
        frozen_because=person.frozen_because,
        resident=person.resident,
        opened_at=rfc3339(to_microseconds(person.opened_at)),
        contacts=dict(person.contacts),
        wallets=[
            WalletOut(id=public_id("wal", wallet_id), state=state)
            for wallet_id, state in person.wallets
        ],
    )
