"""Begin the twelve hours in which little can be done, since how a person signs in has changed."""

from datetime import timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.auth.enrol_device import COOLING_S, start_cooling_off
from wallet.core.clock import to_datetime

_COOL: Final = text("""
UPDATE person SET cooling_until = :until
WHERE id = :person_id AND (cooling_until IS NULL OR cooling_until < :until)
""")


async def cool_off(
    connection: AsyncConnection, *, person_id: UUID, because: str, now_us: int
) -> None:
    """Let the person and all their devices cool off, and have the devices told.

    It stands on the person as well, so that no device which comes later escapes it. ``because``
    names what has changed. Call it in the transaction of the change.
    """
    until = to_datetime(now_us) + timedelta(seconds=COOLING_S)
    await connection.execute(_COOL, {"person_id": person_id, "until": until})
    await start_cooling_off(connection, principal_id=person_id, because=because, now_us=now_us)
