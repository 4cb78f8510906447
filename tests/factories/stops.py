"""Stops, engaged by one person and released by two."""

from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.ops import stop
from wallet.ops.queries import find_open_stop

OTHER = "cli:other"
"""The person who asks for a release; whoever is named confirms it."""


async def release(
    connection: AsyncConnection, *, scope: str, reason: str, actor: str, now_us: int
) -> bool:
    """Release a scope as two people do, and return whether it was stopped."""
    stop.check_scope(scope)
    found = await find_open_stop(connection, scope=scope)
    if found is None:
        return False
    await stop.request_release(
        connection, stop_id=found.id, reason=reason, actor=OTHER, now_us=now_us
    )
    return await stop.confirm_release(connection, stop_id=found.id, actor=actor, now_us=now_us)
