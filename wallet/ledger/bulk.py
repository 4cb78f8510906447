"""A teller for bulk work, such as seeding a city or importing a roster."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from wallet.core.clock import Clock
from wallet.core.database import connect
from wallet.ledger.teller import Teller

BULK_BATCH: Final = 2_000
"""Requests settled together: large enough that a commit no longer counts, small enough to wait."""


@asynccontextmanager
async def bulk_teller(database_url: str, *, clock: Clock) -> AsyncIterator[Teller]:
    """Yield a running teller of one lane with batches of :data:`BULK_BATCH`, closed afterwards.

    One lane, because bulk work asks for the same few accounts in every batch.
    """
    teller = Teller(
        connect=lambda: connect(database_url, application_name="wallet-bulk"),
        clock=clock,
        lanes=1,
        batch_max=BULK_BATCH,
        queue_max=2 * BULK_BATCH,
    )
    await teller.start()
    try:
        yield teller
    finally:
        await teller.close()
