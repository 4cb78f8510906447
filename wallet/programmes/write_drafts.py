"""Write a programme's drafts: save, submit, withdraw, approve, schedule.

Nothing here moves money. A revision that was saved never changes; the next one takes its place.
What is approved and scheduled the worker makes a programme of (:mod:`wallet.programmes.run_due`).
"""

from collections.abc import Collection
from datetime import date
from typing import Any, Final
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.core.clock import japanese_day, to_datetime
from wallet.core.ids import align_id, new_id
from wallet.core.refusals import RefusedError
from wallet.programmes.check import Check, check_draft
from wallet.programmes.draft_queries import (
    Draft,
    find_draft,
    find_programme,
    lock_draft,
    lock_latest,
)
from wallet.programmes.legal import open_findings
from wallet.programmes.legal_settings import LegalSettings
from wallet.programmes.life import DRAFT_STEPS, DraftState, State
from wallet.programmes.terms import ProgrammeDraft

_INSERT: Final = text("""
INSERT INTO programme_draft (id, code, revision, terms, state, written_by, written_at)
VALUES (:id, :code, :revision, CAST(:terms AS jsonb), 'draft', :by, :now)
ON CONFLICT DO NOTHING RETURNING id
""")
_MOVE: Final = text("""
UPDATE programme_draft
SET state = :state, decided_at = :decided_at, live_on = NULL, refusal = NULL WHERE id = :id
""")
_SCHEDULE: Final = text("""
UPDATE programme_draft SET live_on = :live_on, refusal = NULL WHERE id = :id
""")
_NEWER: Final = text("""
SELECT EXISTS (SELECT FROM programme_draft
               WHERE code = :code AND revision > :revision AND state = 'approved')
""")


async def check_beside(
    connection: AsyncConnection,
    draft: ProgrammeDraft,
    *,
    settings: LegalSettings,
    known_categories: Collection[str],
) -> Check:
    """Return what stands against a draft, also beside what the programme is already."""
    programme = await find_programme(connection, code=draft.code)
    begun = programme is not None and programme.state is not State.SCHEDULED
    return check_draft(
        draft,
        settings=settings,
        known_categories=known_categories,
        live=programme.terms if programme is not None and begun else None,
    )


async def save_draft(
    connection: AsyncConnection,
    *,
    draft: ProgrammeDraft,
    seen_revision: int,
    by: str,
    now_us: int,
) -> Draft:
    """Save a draft as the next revision of its code; it may still be incomplete.

    ``seen_revision`` is the latest that its writer knew of, 0 before the first. Raises
    :class:`RefusedError` ``draft_changed`` when there is a later one, ``draft_in_review`` while
    the latest is being reviewed.
    """
    latest = await lock_latest(connection, code=draft.code)
    revision = 0 if latest is None else latest.revision
    if revision != seen_revision:
        raise RefusedError("draft_changed", revision=revision)
    if latest is not None and latest.state is DraftState.REVIEW:
        raise RefusedError("draft_in_review", revision=revision)
    if latest is not None and latest.state is DraftState.DRAFT:
        await _move(connection, latest, DraftState.WITHDRAWN, now_us)
    values = {
        # Aligned, for the ids of the programme and its accounts are numbered after it.
        "id": align_id(new_id(now_us=now_us)),
        "code": draft.code,
        "revision": revision + 1,
        "terms": msgspec.json.encode(draft, order="deterministic").decode(),
        "by": by,
        "now": to_datetime(now_us),
    }
    saved: UUID | None = (await connection.execute(_INSERT, values)).scalar_one_or_none()
    if saved is None:  # Two colleagues wrote the first revision side by side.
        raise RefusedError("draft_changed", revision=revision + 1)
    return await find_draft(connection, saved)


async def submit_draft(
    connection: AsyncConnection,
    *,
    code: str,
    revision: int,
    settings: LegalSettings,
    known_categories: Collection[str],
    now_us: int,
) -> Draft:
    """Hand a draft in for review.

    Raises :class:`RefusedError` ``draft_unknown``, ``draft_state``, ``programme_invalid`` with
    its ``problems``, or ``programme_unlawful`` with its open ``findings``.
    """
    draft = await lock_draft(connection, code=code, revision=revision)
    await _require_clean(connection, draft, settings, known_categories)
    await _move(connection, draft, DraftState.REVIEW, now_us)
    return await find_draft(connection, draft.id)


async def withdraw_draft(
    connection: AsyncConnection, *, code: str, revision: int, now_us: int
) -> Draft:
    """Take a draft back, from review and from the schedule too, until it has been applied.

    Raises :class:`RefusedError` ``draft_unknown`` or ``draft_state``.
    """
    draft = await lock_draft(connection, code=code, revision=revision)
    if draft.applied_at is not None:
        raise RefusedError("draft_state", state=str(draft.state))
    await _move(connection, draft, DraftState.WITHDRAWN, now_us)
    return await find_draft(connection, draft.id)


async def approve_draft(
    connection: AsyncConnection,
    *,
    draft_id: UUID,
    settings: LegalSettings,
    known_categories: Collection[str],
    now_us: int,
) -> Draft:
    """Approve a draft that two have agreed on; raises as :func:`submit_draft` does.

    It is checked once more: the law's settings, and the programme, may have changed since.
    """
    found = await find_draft(connection, draft_id)
    draft = await lock_draft(connection, code=found.code, revision=found.revision)
    await _require_clean(connection, draft, settings, known_categories)
    await _move(connection, draft, DraftState.APPROVED, now_us)
    return await find_draft(connection, draft.id)


async def schedule_draft(
    connection: AsyncConnection, *, code: str, revision: int, live_on: date, now_us: int
) -> Draft:
    """Say from which day in Japan an approved draft holds; today is the earliest.

    Raises :class:`RefusedError` ``draft_unknown``, ``draft_state`` unless it is approved and not
    applied, ``draft_changed`` when a later revision is approved, or ``day_passed``.
    """
    draft = await lock_draft(connection, code=code, revision=revision)
    if draft.state is not DraftState.APPROVED or draft.applied_at is not None:
        raise RefusedError("draft_state", state=str(draft.state))
    values: dict[str, Any] = {"code": code, "revision": revision}
    if (await connection.execute(_NEWER, values)).scalar_one():
        raise RefusedError("draft_changed", revision=revision)
    if live_on < japanese_day(now_us) or live_on > draft.draft.spending.last_day:
        raise RefusedError("day_passed", day=str(live_on))
    await connection.execute(_SCHEDULE, {"id": draft.id, "live_on": live_on})
    return await find_draft(connection, draft.id)


async def _require_clean(
    connection: AsyncConnection,
    draft: Draft,
    settings: LegalSettings,
    known_categories: Collection[str],
) -> None:
    check = await check_beside(
        connection, draft.draft, settings=settings, known_categories=known_categories
    )
    if check.problems:
        raise RefusedError("programme_invalid", programme=draft.code, problems=check.problems)
    found = open_findings(check.findings)
    if found:
        problems = [f"{one.rule}: {one.message}" for one in found]
        raise RefusedError("programme_unlawful", programme=draft.code, problems=problems)


async def _move(connection: AsyncConnection, draft: Draft, to: DraftState, now_us: int) -> None:
    if to not in DRAFT_STEPS[draft.state]:
        raise RefusedError("draft_state", state=str(draft.state))
    decided = to in {DraftState.APPROVED, DraftState.WITHDRAWN}
    values = {
        "id": draft.id,
        "state": str(to),
        "decided_at": to_datetime(now_us) if decided else None,
    }
    await connection.execute(_MOVE, values)
