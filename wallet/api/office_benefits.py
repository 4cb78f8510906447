"""``/office/v1/benefits``: rosters imported, looked at, approved by two, held up, followed.

What is imported gives nothing to anybody: a draft shows what it would do, a colleague agrees to
that very file and sum, and the worker gives. No name and no birthday is ever shown again; rows are
named by their numbers in the office's own file.
"""

import asyncio
from datetime import date, datetime
from functools import partial
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.api.office_approvals import ApprovalOut, ask
from wallet.api.office_forms import In, Line, Out, Page, WhyIn, read_id
from wallet.api.office_guard import Acting, needs
from wallet.api.office_openapi import REFUSALS
from wallet.auth.staff_approvals import Draft
from wallet.auth.staff_rules import Action, Permission, check_reason
from wallet.benefits.import_roster import Imported, Wanted, import_roster
from wallet.benefits.queries import (
    Run,
    Totals,
    add_up,
    find_run,
    list_errors,
    list_runs,
)
from wallet.benefits.read_roster import ROSTER_BYTES_MAX, read_roster
from wallet.benefits.rules import WRONG_WITH_A_ROW
from wallet.benefits.steer_run import check_approvable, pause_run, payload_of, withdraw_run
from wallet.core.clock import japanese_day, rfc3339, to_microseconds
from wallet.core.database import read
from wallet.core.ids import public_id

PATH: Final = "/office/v1/benefits"

ROOMY: Final = {PATH: ROSTER_BYTES_MAX}
"""Where a whole roster may be sent to."""

router = APIRouter(prefix=PATH, tags=["staff: benefits"], responses=REFUSALS)

Reading = Annotated[Acting, Depends(needs(Permission.BENEFIT_READ))]
Writing = Annotated[Acting, Depends(needs(Permission.BENEFIT_WRITE))]

RunId = str
"""In a path: whatever is no id belongs to no run."""


class RosterQuery(In):
    """What the file is for."""

    programme: Annotated[Line, Field(min_length=1, max_length=64)]
    period: Annotated[Line, Field(min_length=1, max_length=32)]
    claim_until: date


class RunPage(Page):
    """Which page of the runs."""


class RunOut(Out):
    """A run as it stands; ``state`` is draft, approved, paused, done or withdrawn."""

    id: str
    programme: str
    name: str
    period: str
    state: str
    file_hash: str
    rows: int
    claim_until: date
    imported_by: str
    imported_at: str
    approved_at: str | None
    finished_at: str | None


class RunListOut(Out):
    """One page of runs, newest first."""

    data: list[RunOut]
    has_more: bool
    next_cursor: str | None


class GroupOut(Out):
    """Grants in one state that go one way; yen."""

    state: str
    delivery: str
    count: int
    amount: int
    returned: int
    protected: int


class ErrorOut(Out):
    """What is wrong with a row: its number as a spreadsheet counts, the column, and in words."""

    row: int
    column: str
    code: str
    message: str


class WholeRunOut(RunOut):
    """A run with what it comes to; of a draft, with what it would do.

    ``known`` get theirs without claiming it. ``budget_left`` is what is promised to no other run;
    ``fits``, of a draft: whether it suffices. ``errors`` are the first hundred.
    """

    accepted: int
    refused: int
    known: int
    amount: int
    budget_left: int
    fits: bool
    groups: list[GroupOut]
    errors: list[ErrorOut]


class ImportedOut(WholeRunOut):
    """The run of a roster; ``new`` is false when the same file was imported before."""

    new: bool


class ChangedOut(Out):
    """A run that was held up or may go on; ``changed`` false: it was so before."""

    id: str
    changed: bool


@router.post(
    "",
    status_code=201,
    summary="Import a roster",
    responses={200: {"model": ImportedOut, "description": "The same file was imported before"}},
    openapi_extra={
        "requestBody": {
            "required": True,
            "description": "The file itself: CSV in UTF-8 or CP932, or XLSX.",
            "content": {"application/octet-stream": {"schema": {"type": "string"}}},
        }
    },
)
async def import_(
    acting: Writing,
    query: Annotated[RosterQuery, Query()],
    request: Request,
    response: Response,
) -> ImportedOut:
    """Take in a roster as a draft; good rows are accepted whatever is wrong with others.

    The same file for the same programme and period is the same run, and answered with 200.
    """
    wanted = Wanted(programme=query.programme, period=query.period, claim_until=query.claim_until)
    reading = partial(
        read_roster,
        await request.body(),
        programme=wanted.programme,
        day=japanese_day(acting.now_us),
    )
    # Whole seconds of arithmetic for a large file, and others want to be served meanwhile.
    roster = await acting.noting("benefit.import", partial(asyncio.to_thread, reading))

    async def work(connection: AsyncConnection) -> Imported:
        return await import_roster(
            connection,
            wanted=wanted,
            roster=roster,
            imported_by=acting.member.id,
            pepper=acting.office.pepper,
            now_us=acting.now_us,
        )

    imported = await acting.act(
        "benefit.import",
        work,
        tell=lambda one: {"run": public_id("bnf", one.run_id), "new": int(one.new)},
    )
    response.status_code = 201 if imported.new else 200
    whole = await _whole(acting, imported.run_id)
    return ImportedOut(**whole, new=imported.new)


@router.get("", summary="List runs")
async def list_(acting: Reading, page: Annotated[RunPage, Query()]) -> RunListOut:
    """List the runs, newest first."""
    async with read(acting.office.engine) as connection:
        found = await list_runs(connection, before=page.after("bnf"), limit=page.limit + 1)
    shown = [RunOut(**_run(one)) for one in found[: page.limit]]
    has_more = len(found) > len(shown)
    return RunListOut(data=shown, has_more=has_more, next_cursor=shown[-1].id if has_more else None)


@router.get("/{run_id}", summary="Get a run")
async def get(acting: Reading, run_id: RunId) -> WholeRunOut:
    """Return a run, what it comes to or would do, and what is wrong with its first bad rows."""
    return WholeRunOut(**await _whole(acting, _id(run_id)))


@router.post("/{run_id}/approval", status_code=202, summary="Ask to approve a run")
async def ask_to_approve(acting: Writing, run_id: RunId, body: WhyIn) -> ApprovalOut:
    """Ask a colleague to agree to this file, this many people and this sum."""
    parsed = _id(run_id)

    async def look(connection: AsyncConnection) -> dict[str, Any]:
        run = await find_run(connection, parsed)
        totals = await check_approvable(connection, run, now_us=acting.now_us)
        return payload_of(run, totals)

    subject = public_id("bnf", parsed)
    payload = await acting.act("benefit.look", look, subject=subject)
    return await ask(acting, Draft(Action.BENEFIT_GRANT, subject, payload, body.reason))


@router.post("/{run_id}/pause", summary="Hold a run up")
async def pause(acting: Writing, run_id: RunId, body: WhyIn) -> ChangedOut:
    """Hold up an approved run at once; a batch that is under way ends as it began."""
    return await _pause(acting, run_id, body.reason, paused=True)


@router.post("/{run_id}/resume", summary="Let a run go on")
async def resume(acting: Writing, run_id: RunId, body: WhyIn) -> ChangedOut:
    """Let a run that was held up go on where it was."""
    return await _pause(acting, run_id, body.reason, paused=False)


@router.post("/{run_id}/withdraw", summary="Withdraw a draft")
async def withdraw(acting: Writing, run_id: RunId, body: WhyIn) -> RunOut:
    """Give up a draft; its file and its beneficiaries are free for another run."""
    parsed = _id(run_id)

    async def work(connection: AsyncConnection) -> Run:
        check_reason(body.reason)
        await withdraw_run(connection, run_id=parsed)
        return await find_run(connection, parsed)

    subject = public_id("bnf", parsed)
    return RunOut(
        **_run(await acting.act("benefit.withdraw", work, subject=subject, reason=body.reason))
    )


async def _pause(acting: Acting, run_id: str, reason: str, *, paused: bool) -> ChangedOut:
    parsed = _id(run_id)

    async def work(connection: AsyncConnection) -> bool:
        check_reason(reason)
        return await pause_run(connection, run_id=parsed, paused=paused, now_us=acting.now_us)

    subject = public_id("bnf", parsed)
    changed = await acting.act(
        "benefit.pause" if paused else "benefit.resume",
        work,
        subject=subject,
        reason=reason,
        tell=lambda changed: {"changed": int(changed)},
    )
    return ChangedOut(id=subject, changed=changed)


async def _whole(acting: Acting, run_id: UUID) -> dict[str, Any]:
    """Return the fields of a run with everything it comes to."""

    async def work(connection: AsyncConnection) -> dict[str, Any]:
        run = await find_run(connection, run_id)
        totals = await add_up(connection, run)
        errors = [
            ErrorOut(row=row, column=field, code=code, message=WRONG_WITH_A_ROW[code])
            for row, field, code in await list_errors(connection, run_id)
        ]
        return {**_run(run), **_totals(totals), "errors": errors}

    return await acting.run("benefit.view", work, subject=public_id("bnf", run_id))


def _totals(totals: Totals) -> dict[str, Any]:
    return {
        "accepted": totals.accepted,
        "refused": totals.refused,
        "known": totals.known,
        "amount": totals.amount_yen,
        "budget_left": totals.budget_left_yen,
        "fits": totals.fits,
        "groups": [
            GroupOut(
                state=one.state,
                delivery=one.delivery,
                count=one.count,
                amount=one.amount_yen,
                returned=one.returned_yen,
                protected=one.protected,
            )
            for one in totals.groups
        ],
    }


def _run(run: Run) -> dict[str, Any]:
    return {
        "id": public_id("bnf", run.id),
        "programme": run.programme,
        "name": run.name,
        "period": run.period,
        "state": "paused" if run.paused_at is not None and run.state == "approved" else run.state,
        "file_hash": run.file_hash.hex(),
        "rows": run.rows_total,
        "claim_until": run.claim_until,
        "imported_by": public_id("stf", run.imported_by),
        "imported_at": _moment(run.imported_at),
        "approved_at": _moment(run.approved_at),
        "finished_at": _moment(run.finished_at),
    }


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else rfc3339(to_microseconds(moment))


def _id(run_id: str) -> UUID:
    return read_id("bnf", run_id, "benefit_run_unknown")
