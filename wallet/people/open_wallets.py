"""Open wallets. They hold nothing yet: purses come when money first arrives."""

from collections.abc import Sequence
from functools import partial
from typing import Final
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from wallet.core.clock import japanese_day, to_datetime
from wallet.core.database import write
from wallet.people.rules import DAILY_LIMIT_YEN, PAYMENT_LIMIT_YEN, Tier

WALLETS_PER_TRANSACTION: Final = 5_000

_INSERT_WALLETS = text("""
INSERT INTO wallet (id, holder, state, payment_limit_yen, daily_limit_yen, opened_at, person_id,
                    tier)
SELECT id, holder, 'active', payment_limit_yen, daily_limit_yen, :now, person_id, tier
FROM unnest(CAST(:ids AS uuid[]), CAST(:holders AS text[]),
            CAST(:payment_limits AS bigint[]), CAST(:daily_limits AS bigint[]),
            CAST(:person_ids AS uuid[]), CAST(:tiers AS text[]))
     AS new (id, holder, payment_limit_yen, daily_limit_yen, person_id, tier)
ON CONFLICT (id) DO NOTHING
""")

_INSERT_SPENDING = text("""
INSERT INTO spending (holder_id, spent_on, spent_yen)
SELECT id, :day, 0 FROM unnest(CAST(:ids AS uuid[])) AS new (id)
ON CONFLICT (holder_id) DO NOTHING
""")


class NewWallet(msgspec.Struct, frozen=True, gc=False):
    """A wallet to open, under an id the caller has made; limits in yen.

    Without a ``person_id`` it is known by its cards and codes only.
    """

    id: UUID
    holder: str = "resident"
    payment_limit_yen: int = PAYMENT_LIMIT_YEN
    daily_limit_yen: int = DAILY_LIMIT_YEN
    person_id: UUID | None = None
    tier: str = Tier.RESIDENT


async def open_wallets(engine: AsyncEngine, *, wallets: Sequence[NewWallet], now_us: int) -> int:
    """Open the wallets and return how many are new; those that exist stay as they are.

    Each :data:`WALLETS_PER_TRANSACTION` of them are one transaction, so after a failure the same
    call goes on where it stopped.
    """
    opened = 0
    for start in range(0, len(wallets), WALLETS_PER_TRANSACTION):
        chunk = wallets[start : start + WALLETS_PER_TRANSACTION]
        opened += await write(engine, partial(insert_wallets, wallets=chunk, now_us=now_us))
    return opened


async def insert_wallets(
    connection: AsyncConnection, *, wallets: Sequence[NewWallet], now_us: int
) -> int:
    """Open the wallets in the caller's transaction and return how many are new."""
    ids = [wallet.id for wallet in wallets]
    result = await connection.execute(
        _INSERT_WALLETS,
        {
            "ids": ids,
            "holders": [wallet.holder for wallet in wallets],
            "payment_limits": [wallet.payment_limit_yen for wallet in wallets],
            "daily_limits": [wallet.daily_limit_yen for wallet in wallets],
            "person_ids": [wallet.person_id for wallet in wallets],
            "tiers": [wallet.tier for wallet in wallets],
            "now": to_datetime(now_us),
        },
    )
    await connection.execute(_INSERT_SPENDING, {"ids": ids, "day": japanese_day(now_us)})
    return result.rowcount
