"""``/ops/v1/staff``: who is on the staff. Power is given by two, and taken by one."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.api.office_approvals import ApprovalOut, ask
from wallet.api.office_forms import Line, Out, Page, PersonId, WhyIn, read_id
from wallet.api.office_guard import Acting, needs
from wallet.api.office_openapi import REFUSALS
from wallet.auth.staff_accounts import login_hash, suspend_member, take_second_code
from wallet.auth.staff_approvals import Draft
from wallet.auth.staff_policy import policy
from wallet.auth.staff_queries import list_members
from wallet.auth.staff_rules import Action, Member, Permission, State, check_reason, check_roles
from wallet.core.database import read
from wallet.core.ids import new_id, public_id

router = APIRouter(prefix="/ops/v1/staff", tags=["staff: colleagues"], responses=REFUSALS)

Reading = Annotated[Acting, Depends(needs(Permission.STAFF_READ))]
Managing = Annotated[Acting, Depends(needs(Permission.STAFF_MANAGE))]
Suspending = Annotated[Acting, Depends(needs(Permission.STAFF_SUSPEND))]
Deciding = Annotated[Acting, Depends(needs(Permission.APPROVAL_DECIDE))]

Roles = Annotated[list[Annotated[str, Field(max_length=64)]], Field(min_length=1, max_length=8)]


class StaffOut(Out):
    """A colleague. Who they are as a resident is nobody's to read."""

    id: str
    display_name: str
    department: str
    state: State
    roles: list[str]
    family_noted: bool


class StaffListOut(Out):
    """One page of the staff, in the order they were added."""

    data: list[StaffOut]
    has_more: bool
    next_cursor: str | None


class AddIn(WhyIn):
    """Who is to join; the employee number is kept as a hash only."""

    login: Annotated[Line, Field(min_length=1, max_length=64)]
    display_name: Annotated[Line, Field(min_length=1, max_length=64)]
    department: Annotated[str, Field(max_length=64)]
    roles: Roles


class RolesIn(WhyIn):
    """Exactly the roles to hold."""

    roles: Roles


class FamilyIn(WhyIn):
    """Who a colleague is as a resident, and whose family; what is left out is no longer so."""

    person_id: PersonId | None = None
    family: Annotated[tuple[PersonId, ...], Field(max_length=20)] = ()


class CodeOut(Out):
    """The second half of an enrolment code, shown this once, to be given to the colleague."""

    enrolment_code: str


@router.get("", summary="List the staff")
async def list_(acting: Reading, page: Annotated[Page, Query()]) -> StaffListOut:
    """List colleagues with their roles."""
    async with read(acting.office.engine) as connection:
        found = await list_members(connection, after=page.after("stf"), limit=page.limit + 1)
    shown = [_member(one) for one in found[: page.limit]]
    has_more = len(found) > len(shown)
    return StaffListOut(
        data=shown, has_more=has_more, next_cursor=shown[-1].id if has_more else None
    )


@router.post("", status_code=202, summary="Ask to add a colleague")
async def ask_to_add(acting: Managing, body: AddIn) -> ApprovalOut:
    """Ask a second administrator to agree to a new account."""
    payload = {
        "login_hash": login_hash(body.login, pepper=acting.office.pepper).hex(),
        "display_name": body.display_name,
        "department": body.department,
        "roles": sorted(set(body.roles)),
    }
    subject = public_id("stf", new_id(now_us=acting.now_us))
    return await ask(
        acting,
        Draft(Action.STAFF_ADD, subject, payload, body.reason),
        check=lambda: check_roles(policy(), department=body.department, roles=set(body.roles)),
    )


@router.post("/{staff_id}/roles", status_code=202, summary="Ask to change a colleague's roles")
async def ask_to_change_roles(acting: Managing, staff_id: str, body: RolesIn) -> ApprovalOut:
    """Ask a second administrator to agree to other roles."""
    payload: dict[str, Any] = {"roles": sorted(set(body.roles))}
    return await _ask(acting, Action.STAFF_CHANGE_ROLES, staff_id, payload, body.reason)


@router.post("/{staff_id}/enrolment", status_code=202, summary="Ask to enrol a colleague again")
async def ask_to_enrol_again(acting: Managing, staff_id: str, body: WhyIn) -> ApprovalOut:
    """Ask a second administrator to agree that a colleague gets new passkeys."""
    return await _ask(acting, Action.STAFF_ENROL_AGAIN, staff_id, {}, body.reason)


@router.post("/{staff_id}/family", status_code=202, summary="Ask to note a colleague's family")
async def ask_to_change_family(acting: Managing, staff_id: str, body: FamilyIn) -> ApprovalOut:
    """Ask a second administrator to agree to who a colleague is as a resident, and whose family."""
    payload: dict[str, Any] = {"person_id": body.person_id, "family": sorted(set(body.family))}
    return await _ask(acting, Action.STAFF_CHANGE_FAMILY, staff_id, payload, body.reason)


@router.post("/{staff_id}/second-code", summary="Take the second half of an enrolment code")
async def second_code(acting: Deciding, staff_id: str) -> CodeOut:
    """Return the second half, once, to the one who approved the account."""
    parsed = read_id("stf", staff_id, "enrolment_unknown")

    async def work(connection: AsyncConnection) -> str:
        return await take_second_code(
            connection,
            staff_id=parsed,
            approver_id=acting.member.id,
            pepper=acting.office.pepper,
            now_us=acting.now_us,
        )

    return CodeOut(
        enrolment_code=await acting.act("staff.take_second_code", work, subject=staff_id)
    )


@router.post("/{staff_id}/suspend", status_code=204, summary="Suspend a colleague")
async def suspend(acting: Suspending, staff_id: str, body: WhyIn) -> None:
    """Take all power from a colleague at once, their sessions with it; giving it back takes two."""
    parsed = read_id("stf", staff_id, "staff_unknown")

    async def work(connection: AsyncConnection) -> bool:
        check_reason(body.reason)
        await acting.check_own_affair(connection, staff_id)
        return await suspend_member(
            connection, staff_id=parsed, because="suspended", now_us=acting.now_us
        )

    await acting.act(
        "staff.suspend",
        work,
        subject=staff_id,
        reason=body.reason,
        tell=lambda changed: {"changed": int(changed)},
    )


async def _ask(
    acting: Acting, action: Action, staff_id: str, payload: dict[str, Any], reason: str
) -> ApprovalOut:
    parsed = read_id("stf", staff_id, "staff_unknown")
    return await ask(acting, Draft(action, public_id("stf", parsed), payload, reason))


def _member(member: Member) -> StaffOut:
    return StaffOut(
        id=public_id("stf", member.id),
        display_name=member.display_name,
        department=member.department,
        state=member.state,
        roles=sorted(member.roles),
        family_noted=bool(member.circle),
    )
