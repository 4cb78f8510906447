"""The SQL of issuing.

Holders' spending is locked before any account, by id, as everywhere: two issues to one wallet, or
an issue and a payment, are never decided side by side.
"""

from collections.abc import Collection, Sequence
from typing import Final
from uuid import UUID

import msgspec

from wallet.core.database import Connection
from wallet.ledger.chart import TRANSFER_ISSUE
from wallet.programmes.rules import Purse

_LOCK_SPENDING: Final = """
SELECT holder_id FROM spending
WHERE holder_id = ANY($1::uuid[]) ORDER BY holder_id FOR NO KEY UPDATE
"""

_FIND_WALLETS: Final = """
SELECT w.id, w.state, p.account_id, p.programme_id, p.funding, p.expires_on
FROM wallet AS w LEFT JOIN purse AS p ON p.wallet_id = w.id
WHERE w.id = ANY($1::uuid[])
"""

_FIND_VERSIONS: Final = "SELECT id, version FROM programme WHERE code = ANY($1::text[])"

# Refunds fill purses too, so sets are counted from the transfers that issued them.
_ISSUED: Final = """
SELECT asked.account_id, t.sets
FROM unnest($1::uuid[]) AS asked (account_id)
CROSS JOIN LATERAL (
    SELECT coalesce(sum(user_data_64), 0)::bigint AS sets FROM transfer
    WHERE credit_account_id = asked.account_id AND code = $2
) AS t
"""

_INSERT_PURSES: Final = """
INSERT INTO purse (account_id, wallet_id, programme_id, funding, expires_on)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::date[])
"""


class WalletFacts(msgspec.Struct, frozen=True):
    """A wallet's state and its purses; new ones are added as a batch decides."""

    state: str
    purses: list[Purse]


async def lock_wallets(
    connection: Connection, wallet_ids: Collection[UUID]
) -> dict[UUID, WalletFacts]:
    """Lock the wallets against other movers of their money and return those that exist."""
    ids = list(wallet_ids)
    await connection.fetch(_LOCK_SPENDING, ids)
    wallets: dict[UUID, WalletFacts] = {}
    for wallet_id, state, account_id, *rest in await connection.fetch(_FIND_WALLETS, ids):
        wallet = wallets.setdefault(wallet_id, WalletFacts(state, []))
        if account_id is not None:
            wallet.purses.append(Purse(account_id, *rest))
    return wallets


async def find_versions(connection: Connection, codes: Collection[str]) -> dict[UUID, int]:
    """Return the current versions of the programmes that exist, by their ids."""
    return dict(await connection.fetch(_FIND_VERSIONS, list(codes)))


async def count_sets(connection: Connection, purse_ids: Sequence[UUID]) -> dict[UUID, int]:
    """Return how many sets were ever issued into each of the paid purses."""
    if not purse_ids:
        return {}
    return dict(await connection.fetch(_ISSUED, purse_ids, TRANSFER_ISSUE))


async def insert_purses(connection: Connection, purses: Sequence[tuple[UUID, Purse]]) -> None:
    """Write new purses with the wallets they belong to."""
    if purses:
        await connection.execute(
            _INSERT_PURSES,
            [purse.account_id for _, purse in purses],
            [wallet_id for wallet_id, _ in purses],
            [purse.programme_id for _, purse in purses],
            [str(purse.funding) for _, purse in purses],
            [purse.expires_on for _, purse in purses],
        )
