"""Steer a run: what its approval is asked for, approving it, pausing, going on, withdrawing.

Nothing moves here. An approved run is worked off by the worker, which looks at every batch whether
it still may.
"""

from typing import Any, Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.benefits.queries import Run, Totals, add_up, lock_run
from wallet.core.clock import japanese_day, to_datetime
from wallet.core.outbox import tell
from wallet.core.refusals import RefusedError

APPROVED: Final = "benefit.approved"

ROWS_PER_STATEMENT: Final = 5_000

# Two runs of one budget are approved one after the other, so that neither forgets the other.
_LOCK_OF_PROGRAMME: Final = text("""
SELECT id FROM benefit_run WHERE programme_id = :programme_id ORDER BY id FOR NO KEY UPDATE
""")

_APPROVE: Final = text("""
UPDATE benefit_run SET state = 'approved', approved_at = :now WHERE id = :id AND state = 'draft'
""")

_PAUSE: Final = text("UPDATE benefit_run SET paused_at = :paused_at WHERE id = :id")

_WITHDRAW: Final = text("UPDATE benefit_run SET state = 'withdrawn' WHERE id = :id")

_WITHDRAW_GRANTS: Final = text("""
UPDATE benefit_grant SET state = 'withdrawn'
WHERE id = ANY (ARRAY(SELECT id FROM benefit_grant WHERE run_id = :id AND state = 'draft'
                      LIMIT :most))
""")


def payload_of(run: Run, totals: Totals) -> dict[str, Any]:
    """Return what a colleague is asked to agree to: the file by its hash, and what it comes to."""
    return {
        "programme": run.programme,
        "period": run.period,
        "file_hash": run.file_hash.hex(),
        "claim_until": run.claim_until.isoformat(),
        "rows": run.rows_total,
        "accepted": totals.accepted,
        "amount_yen": totals.amount_yen,
    }


async def check_approvable(connection: AsyncConnection, run: Run, *, now_us: int) -> Totals:
    """Return what a draft comes to, or raise why it could not be approved.

    :class:`RefusedError` ``benefit_run_not_draft``, ``benefit_run_empty``,
    ``benefit_claim_until_invalid`` when the last day to claim has gone by meanwhile, and
    ``benefit_budget_short``.
    """
    if run.state != "draft":
        raise RefusedError("benefit_run_not_draft")
    totals = await add_up(connection, run)
    if not totals.accepted:
        raise RefusedError("benefit_run_empty")
    if run.claim_until < japanese_day(now_us):
        raise RefusedError("benefit_claim_until_invalid", last_day=run.claim_until)
    if not totals.fits:
        missing_yen = totals.budget_yen - totals.budget_left_yen
        raise RefusedError("benefit_budget_short", missing_yen=missing_yen)
    return totals


async def approve_run(
    connection: AsyncConnection, *, run_id: UUID, payload: dict[str, Any], now_us: int
) -> None:
    """Let the worker begin with a run that is still what was agreed to.

    Raises as :func:`check_approvable` does, ``benefit_run_unknown``, and ``benefit_run_changed``.
    """
    run = await lock_run(connection, run_id)
    await connection.execute(_LOCK_OF_PROGRAMME, {"programme_id": run.programme_id})
    totals = await check_approvable(connection, run, now_us=now_us)
    if payload_of(run, totals) != payload:
        raise RefusedError("benefit_run_changed")
    await connection.execute(_APPROVE, {"id": run_id, "now": to_datetime(now_us)})
    await tell(connection, kind=APPROVED, body={"run_id": run_id}, now_us=now_us)


async def pause_run(
    connection: AsyncConnection, *, run_id: UUID, paused: bool, now_us: int
) -> bool:
    """Hold an approved run up, or let it go on; False when it was so already.

    A batch under way ends as it began; the next one does not begin. Raises
    :class:`RefusedError` ``benefit_run_unknown``, ``benefit_run_not_approved``.
    """
    run = await lock_run(connection, run_id)
    if run.state != "approved":
        raise RefusedError("benefit_run_not_approved")
    if (run.paused_at is not None) == paused:
        return False
    values = {"id": run_id, "paused_at": to_datetime(now_us) if paused else None}
    await connection.execute(_PAUSE, values)
    return True


async def withdraw_run(connection: AsyncConnection, *, run_id: UUID) -> None:
    """Give up a draft, so that its beneficiaries and its file are free for another.

    Raises :class:`RefusedError` ``benefit_run_unknown``, ``benefit_run_not_draft``.
    """
    run = await lock_run(connection, run_id)
    if run.state != "draft":
        raise RefusedError("benefit_run_not_draft")
    await connection.execute(_WITHDRAW, {"id": run_id})
    values = {"id": run_id, "most": ROWS_PER_STATEMENT}
    while (await connection.execute(_WITHDRAW_GRANTS, values)).rowcount:
        continue
