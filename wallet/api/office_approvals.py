"""``/office/v1/approvals``: what waits for a second pair of eyes, and what happens once it has it.

Whoever may ask for a thing, or decide it, sees the requests for it, and so does who audits. The
answer names the hash of what was asked for; deciding says which hash was seen.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.api.office_executions import EXECUTIONS, Result
from wallet.api.office_forms import In, Out, Page, Reason, read_id
from wallet.api.office_guard import Acting, Details, find_about, needs
from wallet.api.office_openapi import REFUSALS
from wallet.auth.staff_approvals import (
    Draft,
    Verdict,
    decide_approval,
    find_approval,
    list_approvals,
    request_approval,
    take_approval,
)
from wallet.auth.staff_policy import policy
from wallet.auth.staff_queries import find_member
from wallet.auth.staff_rules import Action, Approval, Permission, visible_actions
from wallet.core.clock import rfc3339, to_datetime, to_microseconds
from wallet.core.database import read
from wallet.core.ids import parse_public_id, public_id
from wallet.core.refusals import RefusedError
from wallet.people.persons import find_person

router = APIRouter(prefix="/office/v1/approvals", tags=["staff: approvals"], responses=REFUSALS)

Reading = Annotated[Acting, Depends(needs(Permission.APPROVAL_READ))]
Deciding = Annotated[Acting, Depends(needs(Permission.APPROVAL_DECIDE))]


class ApprovalOut(Out):
    """A request as it stands; ``state`` is where it is on its way."""

    id: str
    action: Action
    subject: str
    payload: dict[str, Any]
    payload_hash: str
    requested_by: str
    reason: str
    requested_at: str
    expires_at: str
    state: str
    decided_by: str | None
    decided_because: str | None
    decided_at: str | None
    executed_at: str | None


class ApprovalListOut(Out):
    """One page of requests, newest first."""

    data: list[ApprovalOut]
    has_more: bool
    next_cursor: str | None


class ExecutedOut(Out):
    """A request that was carried out, and what came of it; a code in it is shown this once."""

    approval: ApprovalOut
    result: Result


class ApprovalPage(Page):
    """Which page of which requests."""

    only_open: bool = True


class ApproveIn(In):
    """What was seen: the ``payload_hash`` of the request."""

    payload_hash: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class RejectIn(ApproveIn):
    """What was seen, and why not."""

    reason: Reason


@router.get("", summary="List requests")
async def list_(acting: Reading, page: Annotated[ApprovalPage, Query()]) -> ApprovalListOut:
    """List the requests that the caller may make or decide, newest first."""
    async with read(acting.office.engine) as connection:
        found = await list_approvals(
            connection,
            actions=visible_actions(policy(), acting.member),
            only_open=page.only_open,
            before=page.after("apr"),
            limit=page.limit + 1,
            now_us=acting.now_us,
        )
    shown = [_approval(one, acting.now_us) for one in found[: page.limit]]
    has_more = len(found) > len(shown)
    return ApprovalListOut(
        data=shown, has_more=has_more, next_cursor=shown[-1].id if has_more else None
    )


@router.get("/{approval_id}", summary="Get a request")
async def get(acting: Reading, approval_id: str) -> ApprovalOut:
    """Return one request."""
    return _approval(await _find(acting, approval_id), acting.now_us)


@router.post("/{approval_id}/approve", summary="Approve a request")
async def approve(acting: Deciding, approval_id: str, body: ApproveIn) -> ApprovalOut:
    """Say yes to what was seen; who asked may then carry it out."""
    verdict = Verdict("approved", bytes.fromhex(body.payload_hash))
    return await _decide(acting, approval_id, verdict)


@router.post("/{approval_id}/reject", summary="Reject a request")
async def reject(acting: Deciding, approval_id: str, body: RejectIn) -> ApprovalOut:
    """Say no to what was seen, and why."""
    verdict = Verdict("rejected", bytes.fromhex(body.payload_hash), body.reason)
    return await _decide(acting, approval_id, verdict)


@router.post("/{approval_id}/execute", summary="Carry out an approved request")
async def execute(acting: Reading, approval_id: str) -> ExecutedOut:
    """Do what was approved, once, as the one who asked for it."""
    found = await _find(acting, approval_id)
    acting.check_age(policy().actions[found.action].permission)

    async def work(connection: AsyncConnection) -> tuple[Approval, Result]:
        taken = await take_approval(
            connection,
            approval_id=found.id,
            executor_id=acting.member.id,
            find_about=find_about,
            pepper=acting.office.pepper,
            now_us=acting.now_us,
        )
        return taken, await EXECUTIONS[taken.action](connection, taken, acting)

    taken, result = await acting.act(
        found.action,
        work,
        subject=found.subject,
        reason=found.reason,
        tell=lambda done: _trail(done[0]),
    )
    return ExecutedOut(approval=_approval(taken, acting.now_us), result=result)


async def ask(
    acting: Acting,
    draft: Draft,
    *,
    check: Callable[[], None] | None = None,
) -> ApprovalOut:
    """Write a request for the caller; ``check`` raises for what could never be carried out."""

    async def work(connection: AsyncConnection) -> Approval:
        if check is not None:
            check()
        if draft.action is not Action.STAFF_ADD:
            await _require(connection, draft.subject)
        return await request_approval(
            connection,
            draft=draft,
            requester_id=acting.member.id,
            find_about=find_about,
            pepper=acting.office.pepper,
            now_us=acting.now_us,
        )

    made = await acting.act(
        "approval.request", work, subject=draft.subject, reason=draft.reason, tell=_trail
    )
    return _approval(made, acting.now_us)


async def _require(connection: AsyncConnection, subject: str) -> None:
    """Raise ``person_unknown`` or ``staff_unknown`` for a subject that is nobody."""
    staff_id, person_id = parse_public_id("stf", subject), parse_public_id("per", subject)
    if staff_id is not None and await find_member(connection, staff_id) is None:
        raise RefusedError("staff_unknown")
    if person_id is not None and await find_person(connection, person_id=person_id) is None:
        raise RefusedError("person_unknown")


async def _find(acting: Acting, approval_id: str) -> Approval:
    """Return a request that the caller may see; any other is unknown to them."""
    parsed = read_id("apr", approval_id, "approval_unknown")

    async def work(connection: AsyncConnection) -> Approval:
        found = await find_approval(connection, parsed)
        if found.action not in visible_actions(policy(), acting.member):
            raise RefusedError("approval_unknown")
        return found

    return await acting.run("approval.view", work, subject=approval_id)


async def _decide(acting: Acting, approval_id: str, verdict: Verdict) -> ApprovalOut:
    parsed = read_id("apr", approval_id, "approval_unknown")

    async def work(connection: AsyncConnection) -> Approval:
        return await decide_approval(
            connection,
            approval_id=parsed,
            approver_id=acting.member.id,
            verdict=verdict,
            find_about=find_about,
            pepper=acting.office.pepper,
            now_us=acting.now_us,
        )

    action = "approval.approve" if verdict.decision == "approved" else "approval.reject"
    decided = await acting.act(
        action, work, subject=approval_id, reason=verdict.because, tell=_trail
    )
    return _approval(decided, acting.now_us)


def _trail(approval: Approval) -> Details:
    """Return what of a request the audit trail names."""
    details = {
        "approval": public_id("apr", approval.id),
        "action": str(approval.action),
        "subject": approval.subject,
        "requested_by": public_id("stf", approval.requested_by),
    }
    if approval.decided_by is not None:
        details["decided_by"] = public_id("stf", approval.decided_by)
    return details


def _state(approval: Approval, now_us: int) -> str:
    if approval.executed_at is not None:
        return "executed"
    if approval.decision == "rejected":
        return "rejected"
    if approval.expires_at <= to_datetime(now_us):
        return "expired"
    return approval.decision or "requested"


def _approval(approval: Approval, now_us: int) -> ApprovalOut:
    decided_by = approval.decided_by
    return ApprovalOut(
        id=public_id("apr", approval.id),
        action=approval.action,
        subject=approval.subject,
        payload=approval.payload,
        payload_hash=approval.payload_hash.hex(),
        requested_by=public_id("stf", approval.requested_by),
        reason=approval.reason,
        requested_at=_moment(approval.requested_at),
        expires_at=_moment(approval.expires_at),
        state=_state(approval, now_us),
        decided_by=None if decided_by is None else public_id("stf", decided_by),
        decided_because=approval.decided_because,
        decided_at=None if approval.decided_at is None else _moment(approval.decided_at),
        executed_at=None if approval.executed_at is None else _moment(approval.executed_at),
    )


def _moment(moment: datetime) -> str:
    return rfc3339(to_microseconds(moment))
