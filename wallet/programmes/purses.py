"""Purses: what a wallet holds of a programme, one ledger account for each funding and last day.

Holders' spending is locked before any account, by id, as everywhere: two issues to one wallet, or
an issue and a payment, are never decided side by side.
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import date
from typing import Final
from uuid import UUID

import msgspec

from wallet.core.database import Connection
from wallet.core.money import LEDGER_JPY
from wallet.ledger.chart import ACCOUNT_PURSE
from wallet.ledger.rules import ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS, Account
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


def find_purse(
    purses: Iterable[Purse], *, programme_id: UUID, funding: str, expires_on: date
) -> Purse | None:
    """Return the one of a wallet's purses that such money belongs into, None before the first."""
    for purse in purses:
        if (purse.programme_id, purse.funding, purse.expires_on) == (
            programme_id,
            funding,
            expires_on,
        ):
            return purse
    return None


def purse_account(account_id: UUID, *, wallet_id: UUID, programme_number: int) -> Account:
    """Return the ledger account of a purse: it cannot be overdrawn, and says whose it is."""
    return Account(
        account_id,
        LEDGER_JPY,
        ACCOUNT_PURSE,
        ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS,
        user_data_128=wallet_id,
        user_data_32=programme_number,
    )


async def insert_purses(connection: Connection, purses: Sequence[tuple[UUID, Purse]]) -> None:
    """Write new purses with the wallets they belong to; their accounts are there already."""
    if purses:
        await connection.execute(
            _INSERT_PURSES,
            [purse.account_id for _, purse in purses],
            [wallet_id for wallet_id, _ in purses],
            [purse.programme_id for _, purse in purses],
            [str(purse.funding) for _, purse in purses],
            [purse.expires_on for _, purse in purses],
        )
