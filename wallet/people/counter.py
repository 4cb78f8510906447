"""What only the counter does, where somebody has seen a face and a document.

Who may do it, why, and the trail of it are the office's; here is what becomes of the person. Each
needs the office's approval before it is called.
"""

from typing import Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.core.outbox import tell
from wallet.people.identity import RAISED
from wallet.people.persons import Opened, lock_person, open_person, raise_tier
from wallet.people.rules import Tier

_SET_RESIDENT: Final = text("UPDATE person SET resident = :resident WHERE id = :person_id")


async def open_at_counter(connection: AsyncConnection, *, resident: bool, now_us: int) -> Opened:
    """Open a person whose document was seen, with a wallet; a device or a card comes later."""
    opened = await open_person(connection, tier=Tier.COUNTER, now_us=now_us)
    await raise_at_counter(connection, person_id=opened.person_id, resident=resident, now_us=now_us)
    return opened


async def raise_at_counter(
    connection: AsyncConnection, *, person_id: UUID, resident: bool, now_us: int
) -> None:
    """Raise a person to T3; raises :class:`~wallet.core.refusals.RefusedError` ``person_unknown``.

    What the identity app has said of them stays bound to them.
    """
    person = await lock_person(connection, person_id=person_id)
    await connection.execute(_SET_RESIDENT, {"person_id": person_id, "resident": resident})
    await raise_tier(connection, person=person, tier=Tier.COUNTER, resident=resident)
    body = {"principal_id": person_id, "tier": Tier.COUNTER}
    await tell(connection, kind=RAISED, body=body, now_us=now_us)
