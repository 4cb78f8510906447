"""What the owner of a factor shall hear of: that it was set, used up or taken away.

Whoever changes how a person signs in cannot do it unseen: the event stands in the same
transaction as the change.
"""

from typing import Literal
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.core import outbox

FACTOR_CHANGED = "security.factor_changed"
"""Kind of the outbox event."""

Factor = Literal["pin", "totp", "passkey", "password", "recovery_codes"]
Change = Literal["set", "removed", "used", "copied"]
"""``copied``: an authenticator has counted backwards, so there may be two of it."""


async def tell(
    connection: AsyncConnection, *, principal_id: UUID, factor: Factor, change: Change, now_us: int
) -> None:
    """Write :data:`FACTOR_CHANGED` to the outbox."""
    body = {"principal_id": principal_id, "factor": factor, "change": change}
    await outbox.tell(connection, kind=FACTOR_CHANGED, body=body, now_us=now_us)
