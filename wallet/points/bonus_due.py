"""Rows for bonuses on what happens in this room; the worker decides on them with all their caps."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, Literal
from uuid import UUID

import msgspec

from wallet.core.database import Connection
from wallet.core.ids import align_id, new_id
from wallet.programmes.rules import Programme

_INSERT: Final = """
INSERT INTO bonus_due (id, programme_id, event, wallet_id, base_yen, occurred_at, created_at)
SELECT new.*, $6, $6
FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::uuid[], $5::bigint[]) AS new
"""


class Due(msgspec.Struct, frozen=True, gc=False):
    """What a bonus may be due for: yen that were charged, or 0 for a civic event."""

    programme_id: UUID
    event: Literal["charge", "civic"]
    wallet_id: UUID
    base_yen: int


def has_bonus(programme: Programme, event: Literal["charge", "civic"]) -> bool:
    """Whether a programme gives a bonus for such an event, whenever and to whomever."""
    return any(bonus.on == event for bonus in programme.terms.bonuses)


async def insert_due(
    connection: Connection, dues: Sequence[Due], *, now: datetime, now_us: int
) -> None:
    """Write what a bonus may be due for, in the transaction of what it is for."""
    if dues:
        await connection.execute(
            _INSERT,
            [align_id(new_id(now_us=now_us)) for _ in dues],
            [one.programme_id for one in dues],
            [one.event for one in dues],
            [one.wallet_id for one in dues],
            [one.base_yen for one in dues],
            now,
        )
