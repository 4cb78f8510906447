"""The emergency stop: a row that every batch of money reads under a share lock.

Engaging takes the table's lock, which waits for batches already under way and is not overtaken
by later ones; once it has committed, no later batch can commit money in its scope.
"""

import re
from typing import Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.core.clock import to_datetime
from wallet.core.ids import new_id
from wallet.core.refusals import RefusedError
from wallet.ops.tables import stop_event

SCOPE_FORMAT: Final = re.compile(r"all|pay|issue|programme:[a-z0-9-]{1,64}|merchant:[0-9a-f]{32}")
"""What can be stopped: everything, all payments, all issuing, one programme (by its code), one
merchant (by the 32 hex digits of its id)."""

REASON_CHARACTERS_MAX: Final = 500

OBEY: Final = "SELECT scopes{more} FROM stop_control WHERE id = 1 FOR SHARE"
"""What every batch of money runs first: the engaged scopes, kept from changing until the
transaction ends. ``more`` is for further columns that the batch wants from the same round trip."""

_LOCK = text("LOCK TABLE stop_control IN EXCLUSIVE MODE")
_SCOPES = text("SELECT scopes FROM stop_control WHERE id = 1")
_SET = text("UPDATE stop_control SET scopes = :scopes WHERE id = 1")


async def engaged_scopes(connection: AsyncConnection) -> list[str]:
    """Return the engaged scopes in alphabetical order, for display."""
    return sorted((await connection.execute(_SCOPES)).scalar_one())


async def engage(
    connection: AsyncConnection, *, scope: str, reason: str, actor: str, now_us: int
) -> bool:
    """Stop money in ``scope``; return False when it was stopped already.

    Raises :class:`RefusedError` ``stop_scope_unknown`` or ``stop_reason_missing``. Takes effect
    when the caller's transaction commits.
    """
    return await _change(
        connection, "engage", scope=scope, reason=reason, actor=actor, now_us=now_us
    )


async def release(
    connection: AsyncConnection, *, scope: str, reason: str, actor: str, now_us: int
) -> bool:
    """Let money in ``scope`` flow again; return False when it was not stopped.

    Raises as :func:`engage` does.
    """
    return await _change(
        connection, "release", scope=scope, reason=reason, actor=actor, now_us=now_us
    )


async def _change(
    connection: AsyncConnection, action: str, *, scope: str, reason: str, actor: str, now_us: int
) -> bool:
    _check(scope, reason)
    await connection.execute(_LOCK)
    before = set((await connection.execute(_SCOPES)).scalar_one())
    after = before | {scope} if action == "engage" else before - {scope}
    await connection.execute(_SET, {"scopes": sorted(after)})
    event_id: UUID = new_id(now_us=now_us)
    await connection.execute(
        stop_event.insert().values(
            id=event_id,
            scope=scope,
            action=action,
            actor=actor,
            reason=reason.strip(),
            created_at=to_datetime(now_us),
        )
    )
    return after != before


def _check(scope: str, reason: str) -> None:
    if not SCOPE_FORMAT.fullmatch(scope):
        raise RefusedError("stop_scope_unknown", scope=scope[:80])
    if not reason.strip() or len(reason) > REASON_CHARACTERS_MAX:
        raise RefusedError("stop_reason_missing", characters_max=REASON_CHARACTERS_MAX)
