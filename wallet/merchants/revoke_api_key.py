"""Revoke an API key."""

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from wallet.core.clock import to_datetime
from wallet.core.database import write
from wallet.core.refusals import RefusedError
from wallet.merchants.tables import api_key


async def revoke_api_key(engine: AsyncEngine, *, key_id: UUID, now_us: int) -> bool:
    """Revoke the key for ever; return False when it was revoked before.

    Processes that have just used the key forget it within
    :data:`wallet.merchants.authenticate.KEPT_S_MAX` seconds. Raises :class:`RefusedError`
    ``api_key_unknown``.
    """
    return await write(engine, lambda connection: _revoke(connection, key_id, now_us))


async def _revoke(connection: AsyncConnection, key_id: UUID, now_us: int) -> bool:
    changed = await connection.execute(
        api_key.update()
        .where(api_key.c.id == key_id, api_key.c.revoked_at.is_(None))
        .values(revoked_at=to_datetime(now_us))
    )
    if changed.rowcount:
        return True
    found = await connection.execute(select(api_key.c.id).where(api_key.c.id == key_id))
    if found.first() is None:
        raise RefusedError("api_key_unknown", key_id=key_id)
    return False
