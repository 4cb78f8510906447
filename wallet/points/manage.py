"""What the office decides about points: civic events, the codes shown at them, rewards for steps.

None of it moves money; how much it can ever come to is bounded by the programme's budget, which two
people have approved.
"""

from collections.abc import Sequence
from datetime import date
from typing import Final
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.core.clock import to_datetime
from wallet.core.ids import new_id
from wallet.core.refusals import RefusedError
from wallet.points.codes import new_event_code
from wallet.points.queries import find_event
from wallet.points.rules import Rung, check_ladder

CODES_MAX: Final = 500
"""Codes that are made at once: a sheet to print, or an hour of a screen."""

_PROGRAMME: Final = text("SELECT id FROM programme WHERE code = :code")

_INSERT_EVENT: Final = text("""
INSERT INTO civic_event (id, programme_id, name, amount_yen, first_day, last_day, grants_max,
                         state, created_at)
VALUES (:id, :programme_id, :name, :amount_yen, :first_day, :last_day, :grants_max, 'open', :now)
""")

_CLOSE: Final = text("""
UPDATE civic_event SET state = 'closed' WHERE id = :event_id AND state = 'open'
""")

_SET_RULE: Final = text("""
INSERT INTO step_rule (programme_id, ladder, month_max_yen, first_day, last_day, updated_at)
VALUES (:programme_id, CAST(:ladder AS jsonb), :month_max_yen, :first_day, :last_day, :now)
ON CONFLICT (programme_id) DO UPDATE
SET ladder = EXCLUDED.ladder, month_max_yen = EXCLUDED.month_max_yen,
    first_day = EXCLUDED.first_day, last_day = EXCLUDED.last_day, updated_at = EXCLUDED.updated_at
""")


class NewEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A civic event to be held; ``amount_yen`` is for one person and day."""

    programme: str
    name: str
    amount_yen: int
    first_day: date
    last_day: date
    grants_max: int | None = None


class NewStepRule(msgspec.Struct, frozen=True, kw_only=True):
    """What steps shall earn of a programme from now on."""

    programme: str
    ladder: Sequence[Rung]
    month_max_yen: int
    first_day: date
    last_day: date


async def hold_event(connection: AsyncConnection, *, new: NewEvent, now_us: int) -> UUID:
    """Write an event and return its id.

    Raises ``programme_unknown``, and ``event_days_invalid`` for one that ends before it begins.
    """
    if new.last_day < new.first_day:
        raise RefusedError("event_days_invalid")
    event_id = new_id(now_us=now_us)
    await connection.execute(
        _INSERT_EVENT,
        {
            **msgspec.structs.asdict(new),
            "id": event_id,
            "programme_id": await _programme(connection, new.programme),
            "now": to_datetime(now_us),
        },
    )
    return event_id


async def close_event(connection: AsyncConnection, *, event_id: UUID) -> bool:
    """Let an event bring nothing more; False when it was closed. Raises ``event_unknown``."""
    closed = (await connection.execute(_CLOSE, {"event_id": event_id})).rowcount == 1
    if not closed and await find_event(connection, event_id=event_id) is None:
        raise RefusedError("event_unknown")
    return closed


async def make_event_codes(
    connection: AsyncConnection, *, event_id: UUID, day: date, count: int, pepper: bytes
) -> list[str]:
    """Return codes for participants of an event on one day; nothing is kept of them.

    Raises ``event_unknown``, and ``event_days_invalid`` for a day on which it is not held.
    """
    event = await find_event(connection, event_id=event_id)
    if event is None:
        raise RefusedError("event_unknown")
    if not event.first_day <= day <= event.last_day:
        raise RefusedError("event_days_invalid")
    return [new_event_code(event_id, day=day, pepper=pepper) for _ in range(count)]


async def set_step_rule(connection: AsyncConnection, *, new: NewStepRule, now_us: int) -> None:
    """Write what steps earn of a programme, in place of what they did.

    Raises ``programme_unknown``, ``step_ladder_invalid`` and ``event_days_invalid``.
    """
    refusal = check_ladder(new.ladder)
    if refusal is not None:
        raise RefusedError(refusal.code)
    if new.last_day < new.first_day:
        raise RefusedError("event_days_invalid")
    await connection.execute(
        _SET_RULE,
        {
            "programme_id": await _programme(connection, new.programme),
            "ladder": msgspec.json.encode(list(new.ladder)).decode(),
            "month_max_yen": new.month_max_yen,
            "first_day": new.first_day,
            "last_day": new.last_day,
            "now": to_datetime(now_us),
        },
    )


async def _programme(connection: AsyncConnection, code: str) -> UUID:
    found: UUID | None = (await connection.execute(_PROGRAMME, {"code": code})).scalar_one_or_none()
    if found is None:
        raise RefusedError("programme_unknown", programme=code)
    return found
