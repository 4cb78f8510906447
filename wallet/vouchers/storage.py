"""The SQL of issuing that no other room needs."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from wallet.core.database import Connection
from wallet.ledger.chart import TRANSFER_ISSUE

# Refunds fill purses too, so sets are counted from the transfers that issued them.
_ISSUED: Final = """
SELECT asked.account_id, t.sets
FROM unnest($1::uuid[]) AS asked (account_id)
CROSS JOIN LATERAL (
    SELECT coalesce(sum(user_data_64), 0)::bigint AS sets FROM transfer
    WHERE credit_account_id = asked.account_id AND code = $2
) AS t
"""


async def count_sets(connection: Connection, purse_ids: Sequence[UUID]) -> dict[UUID, int]:
    """Return how many sets were ever issued into each of the paid purses."""
    if not purse_ids:
        return {}
    return dict(await connection.fetch(_ISSUED, purse_ids, TRANSFER_ISSUE))
