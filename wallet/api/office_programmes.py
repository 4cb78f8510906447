"""``/office/v1/programmes``: programmes as data, from the first draft to the last day.

Nothing here moves money. Drafts are written and scheduled; the worker makes programmes of them.
A suspension is the emergency stop of one programme: everything that moves money obeys it already.
"""

from datetime import date
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Depends, Path, Query
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.api.office_approvals import ApprovalOut, ask
from wallet.api.office_forms import In, WhyIn
from wallet.api.office_guard import Acting, Details, needs
from wallet.api.office_openapi import REFUSALS
from wallet.api.office_programmes_out import (
    BaseDateOut,
    CheckedOut,
    DraftOut,
    FindingOut,
    LineOut,
    ProgrammeListOut,
    ProgrammeOut,
    PurchaseLimitOut,
    draft_out,
    line_fields,
    moment_out,
    version_out,
)
from wallet.api.ops_stops import check_two
from wallet.api.problems import ProblemError
from wallet.auth.staff_approvals import Draft as Request
from wallet.auth.staff_rules import Action, Permission
from wallet.core.clock import japanese_day
from wallet.core.database import read
from wallet.core.ids import public_id
from wallet.core.refusals import RefusedError
from wallet.merchants.rules import CATEGORIES
from wallet.ops import stop as stops
from wallet.ops.queries import Stop, find_open_stop
from wallet.people.rules import Tier
from wallet.people.tiers import tiers
from wallet.programmes import base_date, draft_queries, write_drafts
from wallet.programmes.basics import is_code
from wallet.programmes.check import purchase_limits
from wallet.programmes.draft_queries import Draft, Line, Standing
from wallet.programmes.legal import open_findings
from wallet.programmes.legal_settings import legal_settings
from wallet.programmes.life import DraftState
from wallet.programmes.read_drafts import read_draft

router = APIRouter(prefix="/office/v1", tags=["staff: programmes"], responses=REFUSALS)

Reading = Annotated[Acting, Depends(needs(Permission.PROGRAMME_READ))]
Writing = Annotated[Acting, Depends(needs(Permission.PROGRAMME_WRITE))]

_CODE: Final = r"^[a-z0-9-]{1,64}$"
REVISIONS_MAX: Final = 1_000_000
Revision = Annotated[int, Path(ge=1, le=REVISIONS_MAX)]


class CodePage(In):
    """Which page of the list; ``cursor`` is from the page before."""

    limit: Annotated[int, Field(ge=1, le=draft_queries.PAGE_MAX)] = 20
    cursor: Annotated[str, Field(pattern=_CODE)] = ""


class SaveIn(In):
    """A draft, and the latest revision that its writer knew of; 0 before the first."""

    draft: dict[str, Any]
    seen_revision: Annotated[int, Field(ge=0, le=REVISIONS_MAX)] = 0


class ScheduleIn(In):
    """From which day in Japan an approved draft holds."""

    live_on: date


@router.get("/programmes", summary="List programmes")
async def list_(acting: Reading, page: Annotated[CodePage, Query()]) -> ProgrammeListOut:
    """List programmes and drafts in the order of their codes."""
    async with read(acting.office.engine) as connection:
        found = await draft_queries.list_programmes(
            connection, after=page.cursor, limit=page.limit + 1
        )
    shown = found[: page.limit]
    has_more = len(found) > len(shown)
    return ProgrammeListOut(
        data=[LineOut(**line_fields(one)) for one in shown],
        has_more=has_more,
        next_cursor=shown[-1].code if has_more else None,
    )


@router.get("/programmes/{programme}", summary="Get a programme")
async def get(acting: Reading, programme: str) -> ProgrammeOut:
    """Return a programme, every version it has had, and its drafts."""
    return await _programme(acting, _checked(programme))


@router.post("/programmes/{programme}/drafts", status_code=201, summary="Save a draft")
async def save(acting: Writing, programme: str, body: SaveIn) -> CheckedOut:
    """Save a draft as the next revision, and say what stands against it so far."""
    _checked(programme)

    async def work(connection: AsyncConnection) -> Draft:
        draft = read_draft(body.draft)
        if draft.code != programme:
            raise RefusedError(
                "programme_invalid", problems=[f"code: the path says {programme!r}."]
            )
        return await write_drafts.save_draft(
            connection,
            draft=draft,
            seen_revision=body.seen_revision,
            by=acting.actor,
            now_us=acting.now_us,
        )

    saved = await acting.act("programme.save_draft", work, subject=programme, tell=_trail)
    return await _check(acting, saved)


@router.get("/programmes/{programme}/drafts/{revision}", summary="Get a draft with its check")
async def get_draft(acting: Reading, programme: str, revision: Revision) -> CheckedOut:
    """Return a revision, its problems, and what the law's rules find."""
    return await _check(acting, await _find(acting, programme, revision))


@router.post(
    "/programmes/{programme}/drafts/{revision}/submit", summary="Submit a draft for review"
)
async def submit(acting: Writing, programme: str, revision: Revision) -> DraftOut:
    """Hand a draft in; nothing may stand against it."""
    _checked(programme)

    async def work(connection: AsyncConnection) -> Draft:
        return await write_drafts.submit_draft(
            connection,
            code=programme,
            revision=revision,
            settings=legal_settings(),
            known_categories=CATEGORIES,
            now_us=acting.now_us,
        )

    return draft_out(
        await acting.act("programme.submit_draft", work, subject=programme, tell=_trail)
    )


@router.post("/programmes/{programme}/drafts/{revision}/withdraw", summary="Withdraw a draft")
async def withdraw(acting: Writing, programme: str, revision: Revision, body: WhyIn) -> DraftOut:
    """Take a draft back, also from review or from the schedule."""
    _checked(programme)

    async def work(connection: AsyncConnection) -> Draft:
        return await write_drafts.withdraw_draft(
            connection, code=programme, revision=revision, now_us=acting.now_us
        )

    withdrawn = await acting.act(
        "programme.withdraw_draft", work, subject=programme, reason=body.reason, tell=_trail
    )
    return draft_out(withdrawn)


@router.post(
    "/programmes/{programme}/drafts/{revision}/approval",
    status_code=202,
    summary="Ask for a draft's approval",
)
async def request_approval(
    acting: Writing, programme: str, revision: Revision, body: WhyIn
) -> ApprovalOut:
    """Ask a colleague to approve a draft that is in review."""
    found = await _find(acting, programme, revision)
    checked = await _check(acting, found)

    def check() -> None:
        if found.state is not DraftState.REVIEW:
            raise RefusedError("draft_state", state=str(found.state))
        problems = [*checked.problems, *(one.message for one in checked.findings if one.open)]
        if problems:
            raise RefusedError("programme_unlawful", programme=programme, problems=problems)

    payload = {"code": programme, "revision": revision, "sha256": found.sha256}
    request = Request(Action.PROGRAMME_APPROVE, public_id("prg", found.id), payload, body.reason)
    return await ask(acting, request, check=check)


@router.post("/programmes/{programme}/drafts/{revision}/schedule", summary="Schedule a draft")
async def schedule(
    acting: Writing, programme: str, revision: Revision, body: ScheduleIn
) -> DraftOut:
    """Say from which day an approved draft holds; the worker does the rest."""
    _checked(programme)

    async def work(connection: AsyncConnection) -> Draft:
        return await write_drafts.schedule_draft(
            connection,
            code=programme,
            revision=revision,
            live_on=body.live_on,
            now_us=acting.now_us,
        )

    return draft_out(await acting.act("programme.schedule", work, subject=programme, tell=_trail))


@router.post("/programmes/{programme}/suspend", summary="Suspend a programme")
async def suspend(acting: Writing, programme: str, body: WhyIn) -> ProgrammeOut:
    """Stop everything that moves this money; once this has answered, no later batch does."""
    await _require(acting, programme)

    async def work(connection: AsyncConnection) -> None:
        await stops.engage(
            connection,
            scope=_scope(programme),
            reason=body.reason,
            actor=acting.actor,
            now_us=acting.now_us,
            origin=acting.origin,
        )

    await acting.run("programme.suspend", work, subject=programme, reason=body.reason)
    return await _programme(acting, programme)


@router.post(
    "/programmes/{programme}/resume", status_code=202, summary="Ask to resume a suspended programme"
)
async def resume(acting: Writing, programme: str, body: WhyIn) -> ProgrammeOut:
    """Ask that the money flow again; it does once a colleague confirms."""
    await _require(acting, programme)

    async def work(connection: AsyncConnection) -> None:
        found = await _engaged(connection, programme)
        await stops.request_release(
            connection,
            stop_id=found.id,
            reason=body.reason,
            actor=acting.actor,
            now_us=acting.now_us,
            origin=acting.origin,
        )

    await acting.run("programme.resume", work, subject=programme, reason=body.reason)
    return await _programme(acting, programme)


@router.post("/programmes/{programme}/confirm-resume", summary="Resume a suspended programme")
async def confirm_resume(acting: Writing, programme: str) -> ProgrammeOut:
    """Let the money flow again, as somebody else has asked."""
    await _require(acting, programme)

    async def work(connection: AsyncConnection) -> None:
        found = await _engaged(connection, programme)
        await check_two(connection, acting, found)
        await stops.confirm_release(
            connection,
            stop_id=found.id,
            actor=acting.actor,
            now_us=acting.now_us,
            origin=acting.origin,
        )

    await acting.run("programme.confirm_resume", work, subject=programme)
    return await _programme(acting, programme)


@router.get("/base-dates/{day}", summary="Get the report of a base date")
async def get_base_date(acting: Reading, day: date) -> BaseDateOut:
    """Return what was unused at the end of 31 March or 30 September, and what that asks for."""

    async def work(connection: AsyncConnection) -> base_date.Report:
        return await base_date.report(
            connection,
            base_date=day,
            settings=legal_settings(),
            today=japanese_day(acting.now_us),
        )

    made = await acting.run("programme.base_date", work)
    fields = {name: getattr(made, name) for name in made.__struct_fields__ if name != "rows"}
    return BaseDateOut(programmes=msgspec.to_builtins(list(made.rows)), **fields)


def _scope(code: str) -> str:
    return f"programme:{code}"


async def _engaged(connection: AsyncConnection, code: str) -> Stop:
    found = await find_open_stop(connection, scope=_scope(code))
    if found is None:
        raise RefusedError("stop_released")
    return found


def _checked(code: str) -> str:
    """Return the code in a path; whatever could be none belongs to nothing."""
    if not is_code(code):
        raise ProblemError("programme_unknown")
    return code


async def _require(acting: Acting, code: str) -> Standing:
    async with read(acting.office.engine) as connection:
        found = await draft_queries.find_programme(connection, code=_checked(code))
    if found is None:
        raise ProblemError("programme_unknown")
    return found


async def _find(acting: Acting, code: str, revision: int) -> Draft:
    async with read(acting.office.engine) as connection:
        drafts = await draft_queries.list_drafts(connection, code=_checked(code), revision=revision)
    if not drafts:
        raise ProblemError("draft_unknown")
    return drafts[0]


async def _check(acting: Acting, draft: Draft) -> CheckedOut:
    settings = legal_settings()
    async with read(acting.office.engine) as connection:
        check = await write_drafts.check_beside(
            connection, draft.draft, settings=settings, known_categories=CATEGORIES
        )
    still_open = open_findings(check.findings)
    balances_yen = {str(tier): tiers().of(tier).balance_yen for tier in Tier}
    return CheckedOut(
        draft=draft_out(draft),
        problems=check.problems,
        findings=[
            FindingOut(
                source=settings.rules[one.rule].source,
                open=one in still_open,
                **msgspec.to_builtins(one),
            )
            for one in check.findings
        ],
        purchase_limits=[
            PurchaseLimitOut(**msgspec.to_builtins(one))
            for one in purchase_limits(draft.draft, balances_yen=balances_yen)
        ],
    )


async def _programme(acting: Acting, code: str) -> ProgrammeOut:
    async with read(acting.office.engine) as connection:
        standing = await draft_queries.find_programme(connection, code=code)
        drafts = await draft_queries.list_drafts(connection, code=code)
        versions = (
            []
            if standing is None
            else await draft_queries.list_versions(connection, programme_id=standing.id)
        )
    if standing is None and not drafts:
        raise ProblemError("programme_unknown")
    latest = drafts[0] if drafts else None
    line = Line(
        code=code,
        name=standing.terms.name if standing else drafts[0].draft.name,
        programme=standing,
        revision=None if latest is None else latest.revision,
        draft_state=None if latest is None else latest.state,
    )
    suspended_at = None if standing is None else standing.suspended_at
    return ProgrammeOut(
        **line_fields(line),
        suspended_at=moment_out(suspended_at),
        suspended_because=None if standing is None else standing.suspended_because,
        resuming=standing is not None and standing.resuming,
        versions=[version_out(one) for one in versions],
        drafts=[draft_out(one) for one in drafts],
    )


def _trail(draft: Draft) -> Details:
    """Return what of a draft the audit trail names."""
    return {"programme": draft.code, "revision": draft.revision, "state": str(draft.state)}
