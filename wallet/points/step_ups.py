"""Challenges that a batch here uses up: locked as it gathers, consumed in the same transaction."""

from collections.abc import Collection, Mapping
from typing import Final
from uuid import UUID

from wallet.auth.rules import StepUp
from wallet.auth.step_up_storage import LOCK, step_up_from
from wallet.core.database import Connection

_LOCK: Final = LOCK.format(ids="$1")

_CONSUME: Final = """
UPDATE step_up AS s SET consumed_by = new.consumed_by, consumed_at = $3
FROM unnest($1::uuid[], $2::uuid[]) AS new (id, consumed_by)
WHERE s.id = ANY (ARRAY[new.id]) AND s.consumed_at IS NULL AND s.passed_at IS NOT NULL
  AND s.expires_at > $3
"""


async def lock_step_ups(connection: Connection, ids: Collection[UUID]) -> dict[UUID, StepUp]:
    """Lock the challenges and return those that exist; before any wallet, as everywhere."""
    if not ids:
        return {}
    rows = await connection.fetch(_LOCK, list(ids))
    return {row[0]: step_up_from(row) for row in rows}


async def consume_step_ups(
    connection: Connection, used: Mapping[UUID, UUID], *, now: object
) -> None:
    """Use the challenges up, each for what it is mapped to.

    Raises RuntimeError when one of them cannot be: then its money must not move.
    """
    if not used:
        return
    status = await connection.execute(_CONSUME, list(used), list(used.values()), now)
    if status != f"UPDATE {len(used)}":
        message = f"of {len(used)} challenges not all were there to be used: {status}"
        raise RuntimeError(message)
