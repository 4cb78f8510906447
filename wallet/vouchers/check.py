"""Checking applications once they are closed: who may take part, who is there twice.

What the data answers is decided by the worker, in bounded portions; what only looks like a
duplicate waits for somebody of the office. A rejection says why and is told at once, and until
the list is fixed the office can take it back.
"""

from typing import Any, Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.core.clock import to_datetime
from wallet.core.outbox import tell
from wallet.core.refusals import RefusedError
from wallet.programmes.terms import Eligibility
from wallet.vouchers.apply import Application, find_application, lock_application
from wallet.vouchers.apply_rules import (
    POSSIBLE_DUPLICATE,
    REASONS,
    ApplicantFacts,
    judge,
)
from wallet.vouchers.campaigns import Campaign, find_frames, hold_campaign
from wallet.vouchers.campaigns_rules import State, age_year

CHECKED_PER_ROUND: Final = 2_000

_DUE = text("""
SELECT a.id, a.frame, a.person_id, a.soft_key, p.resident, f.birth_year, f.children,
       ARRAY (SELECT e.list_code FROM eligible_person AS e WHERE e.person_id = a.person_id)
           AS lists,
       a.soft_key IS NOT NULL AND EXISTS (
           SELECT FROM application AS b
           WHERE b.campaign_id = a.campaign_id AND b.soft_key = a.soft_key
             AND b.frame = a.frame AND b.id <> a.id
             AND b.state NOT IN ('withdrawn', 'rejected')) AS is_twin
FROM application AS a
LEFT JOIN person AS p ON p.id = a.person_id
LEFT JOIN resident_profile AS f ON f.person_id = a.person_id
WHERE a.campaign_id = :campaign_id AND a.state = 'submitted' AND a.reason IS NULL
ORDER BY a.id LIMIT :most FOR NO KEY UPDATE OF a SKIP LOCKED
""")

_SET = text("""
UPDATE application AS a SET state = new.state, reason = new.reason, decided_at = :now
FROM unnest(CAST(:ids AS uuid[]), CAST(:states AS text[]), CAST(:reasons AS text[]))
     AS new (id, state, reason)
WHERE a.id = new.id
""")

_TELL_REJECTED = text("""
INSERT INTO outbox (event_id, kind, body, created_at)
SELECT uuidv7(), 'application.rejected',
       jsonb_build_object('application_id', a.id, 'campaign_id', a.campaign_id,
                          'reason', a.reason), :now
FROM application AS a WHERE a.id = ANY (CAST(:ids AS uuid[])) AND a.state = 'rejected'
ORDER BY a.id
""")

_IS_LISTED = text("""
SELECT EXISTS (SELECT FROM draw WHERE campaign_id = :campaign_id AND list_asked_at IS NOT NULL)
""")


async def check_some(connection: AsyncConnection, *, campaign: Campaign, now_us: int) -> int:
    """Decide up to :data:`CHECKED_PER_ROUND` applications, and return how many were looked at."""
    values = {"campaign_id": campaign.id, "most": CHECKED_PER_ROUND}
    rows = (await connection.execute(_DUE, values)).all()
    if not rows:
        return 0
    frames = await find_frames(connection, campaign.terms)
    year = age_year(campaign.terms)
    decided = [_decide(row, frames[row.frame].eligibility, year=year) for row in rows]
    await connection.execute(
        _SET,
        {
            "ids": [row.id for row in rows],
            "states": [state for state, _ in decided],
            "reasons": [reason for _, reason in decided],
            "now": to_datetime(now_us),
        },
    )
    rejected = [
        row.id for row, (state, _) in zip(rows, decided, strict=True) if state == "rejected"
    ]
    await connection.execute(_TELL_REJECTED, {"ids": rejected, "now": to_datetime(now_us)})
    return len(rows)


async def decide_application(
    connection: AsyncConnection, *, application_id: UUID, reason: str | None, now_us: int
) -> Application:
    """Accept an application, or reject it for a reason, while they are checked; as the office does.

    Raises :class:`RefusedError` ``application_unknown``, ``applications_not_checked`` outside
    that time, ``draw_listed`` once the list is fixed, ``application_decided`` when it is withdrawn
    or stands so already, and ``reason_unknown``.
    """
    if reason is not None and reason not in REASONS:
        raise RefusedError("reason_unknown")
    found = await find_application(connection, application_id)
    campaign = await hold_campaign(connection, found.campaign_id)
    if campaign.state is not State.CHECKING or campaign.suspended_at is not None:
        raise RefusedError("applications_not_checked")
    if (await connection.execute(_IS_LISTED, {"campaign_id": campaign.id})).scalar_one():
        raise RefusedError("draw_listed")
    held = await lock_application(connection, application_id)
    state = "accepted" if reason is None else "rejected"
    if held.state not in {"submitted", "accepted", "rejected"} or held.state == state:
        raise RefusedError("application_decided", state=held.state)
    values = {"ids": [application_id], "states": [state], "reasons": [reason]}
    await connection.execute(_SET, {**values, "now": to_datetime(now_us)})
    body: dict[str, Any] = {"application_id": application_id, "campaign_id": campaign.id}
    if reason is not None:
        body["reason"] = reason
    await tell(connection, kind=f"application.{state}", body=body, now_us=now_us)
    return await find_application(connection, application_id)


def _decide(row: Any, eligibility: Eligibility, *, year: int) -> tuple[str, str | None]:  # noqa: ANN401 - a row of the query above
    """Return the state and the reason that an application has from now on.

    One of a person is judged by what is known of them by now; a paper of somebody unknown was
    judged by what it says when it came in.
    """
    if row.person_id is not None:
        facts = ApplicantFacts(
            resident=row.resident,
            birth_year=row.birth_year,
            children=row.children,
            lists=frozenset(row.lists),
        )
        reasons = judge(eligibility, facts, year=year)
        if reasons:
            return "rejected", reasons[0]
    return ("submitted", POSSIBLE_DUPLICATE) if row.is_twin else ("accepted", None)
