"""Revoke a device: its key opens nothing any more, its session and all challenges end with it."""

from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.auth.step_up_storage import end_challenges
from wallet.core.clock import to_datetime
from wallet.core.outbox import tell
from wallet.core.refusals import RefusedError

_REVOKE = text("""
UPDATE device SET revoked_at = :now
WHERE id = :device_id AND principal_id = :principal_id AND revoked_at IS NULL
""")

_EXISTS = text("SELECT 1 FROM device WHERE id = :device_id AND principal_id = :principal_id")

_END_SESSIONS = text("""
UPDATE session SET revoked_at = :now, revoked_because = 'device_revoked'
WHERE device_id = :device_id AND revoked_at IS NULL
""")


async def revoke_device(
    connection: AsyncConnection, *, principal_id: UUID, device_id: UUID, because: str, now_us: int
) -> bool:
    """Revoke a device of the principal's for ever; return False when it was revoked before.

    The other devices are told by the outbox event ``security.device_revoked``. Raises
    :class:`RefusedError` ``device_unknown``, also for somebody else's device.
    """
    values = {
        "device_id": device_id,
        "principal_id": principal_id,
        "now": to_datetime(now_us),
    }
    if not (await connection.execute(_REVOKE, values)).rowcount:
        if (await connection.execute(_EXISTS, values)).first() is None:
            raise RefusedError("device_unknown")
        return False
    await connection.execute(_END_SESSIONS, values)
    await end_challenges(connection, principal_id=principal_id, now_us=now_us)
    body = {"principal_id": principal_id, "device_id": device_id, "because": because}
    await tell(connection, kind="security.device_revoked", body=body, now_us=now_us)
    return True
