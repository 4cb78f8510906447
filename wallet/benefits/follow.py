"""Follow money that was moved whole into another purse: an extension, a card that was replaced.

A grant knows the purse it was paid into. Where that purse was emptied into another one, of the same
wallet or of another, what is left of the grant is there.
"""

from collections.abc import Collection
from typing import Final
from uuid import UUID

import msgspec

from wallet.benefits.rules import Granted
from wallet.core.database import Connection
from wallet.ledger.chart import TRANSFER_EXPIRY, TRANSFER_MOVE

# Moves end, as each takes time; eight in a row is a card lost every year of a childhood.
_FOLLOW: Final = """
WITH RECURSIVE went AS (
    SELECT account_id AS first_id, account_id, 0 AS hops FROM unnest($1::uuid[]) AS t (account_id)
    UNION ALL
    SELECT went.first_id, t.credit_account_id, went.hops + 1
    FROM went CROSS JOIN LATERAL (
        SELECT credit_account_id FROM transfer
        WHERE debit_account_id = went.account_id AND code = $2
        ORDER BY timestamp DESC LIMIT 1) AS t
    WHERE went.hops < 8
)
SELECT DISTINCT ON (went.first_id) went.first_id, went.account_id, p.wallet_id
FROM went JOIN purse AS p ON p.account_id = ANY (ARRAY[went.account_id])
ORDER BY went.first_id, went.hops DESC
"""

_CAME: Final = """
WITH RECURSIVE came AS (
    SELECT account_id AS last_id, account_id, 0 AS hops FROM unnest($1::uuid[]) AS t (account_id)
    UNION ALL
    SELECT came.last_id, t.debit_account_id, came.hops + 1
    FROM came CROSS JOIN LATERAL (
        SELECT debit_account_id FROM transfer
        WHERE credit_account_id = came.account_id AND code = $2) AS t
    WHERE came.hops < 8
)
"""

_GRANTS_IN: Final = f"""
{_CAME}
SELECT c.last_id, g.id, g.amount_yen, g.returned_yen
FROM (SELECT DISTINCT last_id, account_id FROM came) AS c
JOIN benefit_grant AS g ON g.account_id = ANY (ARRAY[c.account_id])
ORDER BY g.granted_at, g.id
"""  # noqa: S608

_EXPIRED: Final = f"""
{_CAME}
SELECT c.last_id, sum(t.amount)::bigint
FROM (SELECT DISTINCT last_id, account_id FROM came) AS c
JOIN transfer AS t ON t.debit_account_id = ANY (ARRAY[c.account_id]) AND t.code = $3
GROUP BY c.last_id
"""  # noqa: S608


class Whereabouts(msgspec.Struct, frozen=True, gc=False):
    """The purse in which the money is by now, and whose it is."""

    account_id: UUID
    wallet_id: UUID


async def follow(connection: Connection, account_ids: Collection[UUID]) -> dict[UUID, Whereabouts]:
    """Return where the money of each purse is by now; most are where they were."""
    rows = await connection.fetch(_FOLLOW, list(account_ids), TRANSFER_MOVE)
    return {row[0]: Whereabouts(row[1], row[2]) for row in rows}


async def find_grants_in(
    connection: Connection, account_ids: Collection[UUID]
) -> dict[UUID, list[Granted]]:
    """Return all grants whose money came into each of the purses, the oldest first."""
    grants: dict[UUID, list[Granted]] = {}
    rows = await connection.fetch(_GRANTS_IN, list(account_ids), TRANSFER_MOVE)
    for account_id, *grant in rows:
        grants.setdefault(account_id, []).append(Granted(*grant))
    return grants


async def find_expired_from(
    connection: Connection, account_ids: Collection[UUID]
) -> dict[UUID, int]:
    """Return how much expired of the money that came into each purse; most have lost none."""
    rows = await connection.fetch(_EXPIRED, list(account_ids), TRANSFER_MOVE, TRANSFER_EXPIRY)
    return dict(rows)
