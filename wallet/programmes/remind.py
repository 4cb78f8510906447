"""Remind: holders hear a few times that money is about to expire, and only if they have some left.

Each holder is told once of each programme, last day and step, as one event for all of its purses.
A step that was missed by a day is still told; later, the next one tells.
"""

from datetime import date, timedelta
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from wallet.core.clock import JST, Clock, japanese_day, to_datetime
from wallet.core.database import read, write
from wallet.programmes.extend import renew_used

STEPS_DAYS: Final = (30, 14, 7, 3, 1)
"""How many days before the last good day holders are reminded."""

LATE_DAYS_MAX: Final = 1

FROM_HOUR: Final = 9
"""Nobody is woken up for a reminder: they begin at this hour in Japan."""

TOLD_PER_TRANSACTION: Final = 2_000

_IS_DONE: Final = text("SELECT EXISTS (SELECT FROM reminded_day WHERE day = :day)")

_DONE: Final = text("""
INSERT INTO reminded_day (day, done_at) VALUES (:day, :now) ON CONFLICT DO NOTHING
""")

# Only who is new among the reminded is told. Two workers that come together insert the same rows,
# and one of them waits for the other and then finds them there.
_REMIND: Final = text("""
WITH due AS (
    SELECT p.wallet_id, p.programme_id, p.expires_on, asked.step_days,
           sum(b.credits_posted - b.debits_posted)::bigint AS amount_yen
    FROM unnest(CAST(:days AS date[]), CAST(:steps AS int[])) AS asked (expires_on, step_days)
    JOIN purse AS p ON p.expires_on = asked.expires_on AND p.ended_at IS NULL
    JOIN balance AS b ON b.account_id = p.account_id
    WHERE b.credits_posted > b.debits_posted
      AND NOT EXISTS (
          SELECT FROM purse_reminder AS r
          WHERE r.wallet_id = p.wallet_id AND r.programme_id = p.programme_id
            AND r.expires_on = p.expires_on AND r.step_days = asked.step_days)
    GROUP BY 1, 2, 3, 4
    ORDER BY 1, 2, 3, 4 LIMIT :most
), new AS (
    INSERT INTO purse_reminder (wallet_id, programme_id, expires_on, step_days, told_at)
    SELECT wallet_id, programme_id, expires_on, step_days, :now FROM due
    ON CONFLICT DO NOTHING
    RETURNING wallet_id, programme_id, expires_on, step_days
)
INSERT INTO outbox (event_id, kind, body, created_at)
SELECT gen_random_uuid(), 'purse.reminder',
       jsonb_build_object('wallet_id', new.wallet_id, 'programme', g.code,
                          'expires_on', new.expires_on,
                          'days_left', new.expires_on - CAST(:today AS date),
                          'amount_yen', due.amount_yen), :now
FROM new
JOIN due USING (wallet_id, programme_id, expires_on, step_days)
JOIN programme AS g ON g.id = new.programme_id
""")


def due_on(today: date) -> list[tuple[date, int]]:
    """Return the last days whose holders are reminded today, each with its step in days.

    Those of yesterday's steps too, unless a later step of the same day has come meanwhile.
    """
    asked: dict[date, int] = {}
    for step in STEPS_DAYS:
        for late in range(LATE_DAYS_MAX + 1):
            if step >= late:
                asked[today + timedelta(days=step - late)] = step
    return list(asked.items())


async def remind_due(engine: AsyncEngine, *, database_url: str, clock: Clock) -> int:
    """Tell whoever is to be reminded today and return how many were; once a day.

    Money that runs out after its last use has the day of that use first. Any number of processes
    may do it.
    """
    now_us = clock()
    today = japanese_day(now_us)
    if to_datetime(now_us).astimezone(JST).hour < FROM_HOUR:
        return 0
    async with read(engine) as connection:
        if (await connection.execute(_IS_DONE, {"day": today})).scalar_one():
            return 0
    await renew_used(engine, database_url=database_url, clock=clock, days_ahead=max(STEPS_DAYS))
    told = 0
    while count := await _remind(engine, today=today, now_us=now_us):
        told += count
    values = {"day": today, "now": to_datetime(now_us)}
    await write(engine, lambda connection: connection.execute(_DONE, values))
    return told


async def _remind(engine: AsyncEngine, *, today: date, now_us: int) -> int:
    asked = due_on(today)
    values = {
        "days": [day for day, _ in asked],
        "steps": [step for _, step in asked],
        "today": today,
        "most": TOLD_PER_TRANSACTION,
        "now": to_datetime(now_us),
    }

    async def work(connection: AsyncConnection) -> int:
        return (await connection.execute(_REMIND, values)).rowcount

    return await write(engine, work)
