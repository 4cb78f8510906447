"""Issue one-time codes: what a phone shows to a shop instead of anything that lasts."""

from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Any, Final
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from wallet.core.clock import to_datetime
from wallet.core.database import write
from wallet.core.ids import keyed_hash, new_secret
from wallet.core.refusals import RefusedError
from wallet.payments.rules import Level

EXPIRES_S: Final = 300
EXPIRES_S_MAX: Final = 3_600
"""Beyond an hour a code would no longer be fresh from the phone of the one who shows it."""

CODES_PER_TRANSACTION: Final = 5_000

# A wallet that does not exist leaves its row out; the number of rows tells.
_INSERT = text("""
INSERT INTO one_time_code (code_hash, wallet_id, expires_at, device_id, helper_id, acr, classes,
                           authenticated_at)
SELECT new.hash, w.id, :expires_at, CAST(:device_id AS uuid), CAST(:helper_id AS uuid), :acr,
       CAST(:classes AS text[]), CAST(:authenticated_at AS timestamptz)
FROM unnest(CAST(:hashes AS bytea[]), CAST(:wallet_ids AS uuid[])) AS new (hash, wallet_id)
JOIN wallet AS w ON w.id = new.wallet_id
""")


class GivenTo(msgspec.Struct, frozen=True):
    """Where codes go: the phone, the proxy whose it is, and the level it has reached by now.

    A payment by code needs no prompt for what the level carries. Without one a code is by itself
    what its bearer has, and nothing more.
    """

    device_id: UUID | None = None
    helper_id: UUID | None = None
    level: Level | None = None


NOBODY: Final = GivenTo()


async def issue_codes(
    engine: AsyncEngine,
    *,
    wallet_ids: Sequence[UUID],
    pepper: bytes,
    now_us: int,
    expires_s: int = EXPIRES_S,
    given_to: GivenTo = NOBODY,
) -> list[str]:
    """Return one fresh code for each wallet, in order; a wallet may be there more than once.

    Each code has 160 random bits, pays once, and only within ``expires_s`` seconds (at most
    :data:`EXPIRES_S_MAX`, else ValueError). Each :data:`CODES_PER_TRANSACTION` are one
    transaction. Raises :class:`RefusedError` ``wallet_unknown``.
    """
    if not 1 <= expires_s <= EXPIRES_S_MAX:
        message = f"a code lives 1 to {EXPIRES_S_MAX} seconds, not {expires_s}"
        raise ValueError(message)
    codes = [new_secret("code_") for _ in wallet_ids]
    level = given_to.level
    for start in range(0, len(codes), CODES_PER_TRANSACTION):
        stop = start + CODES_PER_TRANSACTION
        values: dict[str, Any] = {
            "hashes": [keyed_hash(code, pepper=pepper) for code in codes[start:stop]],
            "wallet_ids": list(wallet_ids[start:stop]),
            "expires_at": to_datetime(now_us) + timedelta(seconds=expires_s),
            "device_id": given_to.device_id,
            "helper_id": given_to.helper_id,
            "acr": level and level.acr.value,
            "classes": level and [one.value for one in level.classes],
            "authenticated_at": level and level.at,
        }
        await write(engine, partial(_insert, values=values))
    return codes


async def _insert(connection: AsyncConnection, *, values: dict[str, Any]) -> None:
    result = await connection.execute(_INSERT, values)
    if result.rowcount != len(values["hashes"]):
        raise RefusedError("wallet_unknown")
