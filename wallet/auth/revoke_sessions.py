"""End sessions: one's own, a principal's, everybody's. It holds from the next request on."""

from functools import partial
from typing import Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from wallet.auth.step_up_storage import end_challenges
from wallet.core.clock import to_datetime
from wallet.core.database import write

SESSIONS_PER_TRANSACTION: Final = 5_000

_REVOKE_ONE = text("""
UPDATE session SET revoked_at = :now, revoked_because = :because
WHERE id = :session_id AND principal_id = :principal_id AND revoked_at IS NULL
""")

_REVOKE_OF_PRINCIPAL = text("""
UPDATE session SET revoked_at = :now, revoked_because = :because
WHERE principal_id = :principal_id AND revoked_at IS NULL
  AND id IS DISTINCT FROM CAST(:kept_id AS uuid)
""")

_REVOKE_SOME = text("""
UPDATE session SET revoked_at = :now, revoked_because = :because
WHERE id = ANY (ARRAY(
    SELECT id FROM session WHERE revoked_at IS NULL AND opened_at <= :now
    ORDER BY id LIMIT :most FOR NO KEY UPDATE))
""")


async def revoke_session(
    connection: AsyncConnection, *, principal_id: UUID, session_id: UUID, because: str, now_us: int
) -> bool:
    """End a session of the principal's; return False when it has ended or is somebody else's."""
    values = {"session_id": session_id, "principal_id": principal_id}
    done = await connection.execute(
        _REVOKE_ONE, {**values, "because": because, "now": to_datetime(now_us)}
    )
    return done.rowcount == 1


async def revoke_sessions(
    connection: AsyncConnection,
    *,
    principal_id: UUID,
    because: str,
    now_us: int,
    kept_id: UUID | None = None,
) -> int:
    """End all sessions of a principal but ``kept_id``, in the caller's transaction.

    For a freeze, a factor that was changed, a member of staff who leaves. All challenges of the
    principal end too, those that were passed and not used yet included. Returns how many sessions
    were ended.
    """
    await end_challenges(connection, principal_id=principal_id, now_us=now_us)
    values = {"principal_id": principal_id, "kept_id": kept_id, "because": because}
    done = await connection.execute(_REVOKE_OF_PRINCIPAL, {**values, "now": to_datetime(now_us)})
    return done.rowcount


async def revoke_all_sessions(engine: AsyncEngine, *, because: str, now_us: int) -> int:
    """End every session that was open at ``now_us`` and return how many these were.

    Each :data:`SESSIONS_PER_TRANSACTION` are one transaction; after a failure the same call goes
    on where it stopped.
    """
    ended = 0
    work = partial(_revoke_some, because=because, now_us=now_us)
    while some := await write(engine, work):
        ended += some
    return ended


async def _revoke_some(connection: AsyncConnection, *, because: str, now_us: int) -> int:
    values = {"because": because, "now": to_datetime(now_us), "most": SESSIONS_PER_TRANSACTION}
    return (await connection.execute(_REVOKE_SOME, values)).rowcount
