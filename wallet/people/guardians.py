"""Guardians: who holds the wallet of a child, or of somebody without a phone.

The counter has seen who they are to each other; the city keeps that they are, and since when.
"""

from typing import Final, Literal
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.core.clock import to_datetime
from wallet.core.outbox import tell
from wallet.core.refusals import RefusedError
from wallet.people.persons import lock_person
from wallet.people.rules import Tier
from wallet.people.tables import guardianship
from wallet.people.tiers import tiers

ADDED: Final = "guardianship.added"
ENDED: Final = "guardianship.ended"

Kind = Literal["child", "no_phone"]

_LOCK_WALLET: Final = text("""
SELECT person_id FROM wallet WHERE id = :wallet_id AND state <> 'closed' FOR NO KEY UPDATE
""")

_COUNT: Final = text("""
SELECT count(*) FILTER (WHERE guardian_id = :guardian_id) AS of_guardian,
       count(*) FILTER (WHERE wallet_id = :wallet_id) AS of_wallet,
       count(*) FILTER (WHERE guardian_id = :guardian_id AND wallet_id = :wallet_id) AS there
FROM guardianship
WHERE until IS NULL AND (guardian_id = :guardian_id OR wallet_id = :wallet_id)
""")

_END: Final = text("""
UPDATE guardianship SET until = :now
WHERE guardian_id = :guardian_id AND wallet_id = :wallet_id AND until IS NULL
""")


async def add_guardianship(
    connection: AsyncConnection, *, guardian_id: UUID, wallet_id: UUID, kind: Kind, now_us: int
) -> bool:
    """Give a wallet a guardian; return False when they are one already.

    Only the counter does it. Raises :class:`RefusedError` ``person_unknown``, ``wallet_unknown``,
    ``guardian_not_proven`` below T2 or frozen, ``guardian_of_self``, and ``guardians_too_many``
    for the wallet or the guardian.
    """
    guardian = await lock_person(connection, person_id=guardian_id)
    values = {"guardian_id": guardian_id, "wallet_id": wallet_id}
    wallet = (await connection.execute(_LOCK_WALLET, values)).one_or_none()
    if wallet is None:
        raise RefusedError("wallet_unknown", wallet_id=wallet_id)
    if wallet.person_id == guardian_id:
        raise RefusedError("guardian_of_self")
    if guardian.tier < Tier.RESIDENT or guardian.state != "active":
        raise RefusedError("guardian_not_proven")
    counts = (await connection.execute(_COUNT, values)).one()
    if counts.there:
        return False
    limits = tiers().guardian
    if counts.of_guardian >= limits.per_guardian or counts.of_wallet >= limits.per_wallet:
        raise RefusedError("guardians_too_many")
    row = {**values, "kind": kind, "since": to_datetime(now_us)}
    await connection.execute(guardianship.insert().values(row))
    await _tell(connection, ADDED, guardian_id, wallet_id, now_us)
    return True


async def end_guardianship(
    connection: AsyncConnection, *, guardian_id: UUID, wallet_id: UUID, now_us: int
) -> bool:
    """End it: the guardian's own wish, or the counter's. Return False when it was none."""
    values = {"guardian_id": guardian_id, "wallet_id": wallet_id, "now": to_datetime(now_us)}
    if (await connection.execute(_END, values)).rowcount == 0:
        return False
    await _tell(connection, ENDED, guardian_id, wallet_id, now_us)
    return True


async def _tell(
    connection: AsyncConnection, kind: str, guardian_id: UUID, wallet_id: UUID, now_us: int
) -> None:
    body = {"principal_id": guardian_id, "wallet_id": wallet_id}
    await tell(connection, kind=kind, body=body, now_us=now_us)
