"""What a person may reach: their own wallet, those of their wards, those they help with."""

from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.core.clock import to_datetime

_REACH: Final = text("""
SELECT w.id, 'own' AS role, w.payment_limit_yen, w.daily_limit_yen,
       CAST(NULL AS timestamptz) AS usable_from, w.id AS holder_id
FROM wallet AS w WHERE w.person_id = :person_id AND w.state <> 'closed'
UNION ALL
SELECT w.id, 'guardian', w.payment_limit_yen, w.daily_limit_yen, NULL, w.id
FROM guardianship AS g JOIN wallet AS w ON w.id = g.wallet_id
WHERE g.guardian_id = :person_id AND g.until IS NULL AND w.state <> 'closed'
UNION ALL
SELECT w.id, h.kind, h.payment_limit_yen, h.daily_limit_yen, h.cooling_until, h.id
FROM helper AS h JOIN wallet AS w ON w.id = h.wallet_id
WHERE h.helper_id = :person_id AND h.revoked_at IS NULL AND w.state <> 'closed'
ORDER BY 1
""")


class Role(StrEnum):
    """As whom somebody reaches a wallet."""

    OWN = "own"
    GUARDIAN = "guardian"
    VIEW = "view"
    PROXY = "proxy"


class Reach(msgspec.Struct, frozen=True):
    """A wallet that a person may look into, and what they may pay out of it.

    Limits in yen are the role's: whoever pays also keeps to the wallet's and the tier's.
    ``holder_id`` is the row of ``spending`` that counts the role's day: the wallet's own, or a
    proxy's. Before ``usable_from`` a proxy pays nothing.
    """

    wallet_id: UUID
    role: Role
    payment_limit_yen: int
    daily_limit_yen: int
    usable_from: datetime | None
    holder_id: UUID

    def may_pay(self, *, now_us: int) -> bool:
        """Whether money may leave the wallet by this person's hand now."""
        if self.role is Role.VIEW:
            return False
        return self.usable_from is None or self.usable_from <= to_datetime(now_us)


async def list_reach(connection: AsyncConnection, *, person_id: UUID) -> list[Reach]:
    """Return every wallet a person may look into, by id; the doors show nothing else."""
    rows = await connection.execute(_REACH, {"person_id": person_id})
    return [Reach(row.id, Role(row.role), *row[2:]) for row in rows]
