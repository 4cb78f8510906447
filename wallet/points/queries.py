"""Reads of points: one's gifts, what may be exchanged, civic events, rules of steps."""

from datetime import date, datetime
from typing import Final, Literal
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.points.rules import Rung
from wallet.programmes.terms import Terms

GIFTS_MAX: Final = 100

_GIFTS: Final = text("""
SELECT g.id, p.code AS programme, g.amount_yen,
       CASE WHEN g.giver_id = :person_id THEN 'given' ELSE 'received' END AS direction,
       CASE WHEN g.state = 'waiting' AND g.expires_at <= :now THEN 'expired' ELSE g.state END
           AS state,
       g.created_at, g.expires_at
FROM (
    SELECT * FROM gift WHERE giver_id = :person_id AND amount_yen > 0
    UNION ALL
    SELECT * FROM gift WHERE receiver_id = :person_id AND amount_yen > 0
) AS g JOIN programme AS p ON p.id = g.programme_id
ORDER BY g.id DESC LIMIT :limit
""")

_EXCHANGES: Final = text("""
SELECT code, terms FROM programme
WHERE jsonb_array_length(coalesce(terms -> 'exchanges', '[]')) > 0 ORDER BY number
""")

_EVENTS: Final = text("""
SELECT e.id, p.code AS programme, e.name, e.amount_yen, e.first_day, e.last_day, e.grants_max,
       e.grants, e.state
FROM civic_event AS e JOIN programme AS p ON p.id = e.programme_id
WHERE CAST(:before AS uuid) IS NULL OR e.id < :before ORDER BY e.id DESC LIMIT :limit
""")

_EVENT: Final = text("""
SELECT e.id, p.code AS programme, e.name, e.amount_yen, e.first_day, e.last_day, e.grants_max,
       e.grants, e.state
FROM civic_event AS e JOIN programme AS p ON p.id = e.programme_id WHERE e.id = :event_id
""")

_RULES: Final = text("""
SELECT p.code AS programme, r.ladder, r.month_max_yen, r.first_day, r.last_day
FROM step_rule AS r JOIN programme AS p ON p.id = r.programme_id ORDER BY p.number
""")


class GiftSeen(msgspec.Struct, frozen=True, kw_only=True):
    """A gift as one of its two sides sees it; they are not told who the other one is."""

    id: UUID
    programme: str
    amount_yen: int
    direction: Literal["given", "received"]
    state: Literal["given", "waiting", "cancelled", "expired"]
    created_at: datetime
    expires_at: datetime | None


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """One money that may become another: what comes in is ``times`` / ``per`` of it, floored."""

    programme: str
    to: str
    times: int
    per: int


class EventSeen(msgspec.Struct, frozen=True, kw_only=True):
    """A civic event, and how many have come."""

    id: UUID
    programme: str
    name: str
    amount_yen: int
    first_day: date
    last_day: date
    grants_max: int | None
    grants: int
    state: Literal["open", "closed"]


class StepRuleSeen(msgspec.Struct, frozen=True, kw_only=True):
    """What steps earn of a programme."""

    programme: str
    ladder: list[Rung]
    month_max_yen: int
    first_day: date
    last_day: date


async def list_gifts(
    connection: AsyncConnection, *, person_id: UUID, now: datetime
) -> list[GiftSeen]:
    """Return somebody's newest gifts, given and received, :data:`GIFTS_MAX` at most."""
    values = {"person_id": person_id, "now": now, "limit": GIFTS_MAX}
    return [GiftSeen(**row) for row in (await connection.execute(_GIFTS, values)).mappings()]


async def list_rates(connection: AsyncConnection) -> list[Rate]:
    """Return what may become what."""
    rows = await connection.execute(_EXCHANGES)
    return [
        Rate(programme=row.code, to=one.to, times=one.times, per=one.per)
        for row in rows
        for one in msgspec.convert(row.terms, Terms, strict=False).exchanges
    ]


async def list_events(
    connection: AsyncConnection, *, before: UUID | None, limit: int
) -> list[EventSeen]:
    """Return events, newest first, from the one before ``before`` on."""
    rows = await connection.execute(_EVENTS, {"before": before, "limit": limit})
    return [EventSeen(**row) for row in rows.mappings()]


async def find_event(connection: AsyncConnection, *, event_id: UUID) -> EventSeen | None:
    """Return an event, None for one that there is not."""
    row = (await connection.execute(_EVENT, {"event_id": event_id})).mappings().one_or_none()
    return None if row is None else EventSeen(**row)


async def list_step_rules(connection: AsyncConnection) -> list[StepRuleSeen]:
    """Return what steps earn, of every programme that rewards them."""
    rows = (await connection.execute(_RULES)).mappings()
    return [msgspec.convert(dict(row), StepRuleSeen) for row in rows]
