"""What the worker does for receipts: close orders that nobody has paid, settle what was decided."""

from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from wallet.core.clock import Clock, to_datetime
from wallet.core.database import write
from wallet.receipts.settle_suspense import settle_due

CLOSED_PER_ROUND: Final = 5_000

# Money that is being noted holds its order's row; the order is left for the next round then.
_CLOSE: Final = text("""
UPDATE receipt_order SET state = 'expired'
WHERE id IN (SELECT id FROM receipt_order
             WHERE state = 'waiting' AND closes_at <= :now
             ORDER BY closes_at LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED)
""")


async def run_due(engine: AsyncEngine, database_url: str, clock: Clock) -> None:
    """Do what is due now; whatever is left over is done in the next round."""
    await close_orders(engine, now_us=clock())
    await settle_due(engine, database_url=database_url, clock=clock)


async def close_orders(engine: AsyncEngine, *, now_us: int) -> int:
    """Close waiting orders whose time and grace are over, and return how many."""

    async def work(connection: AsyncConnection) -> int:
        values = {"now": to_datetime(now_us), "limit": CLOSED_PER_ROUND}
        return (await connection.execute(_CLOSE, values)).rowcount

    return await write(engine, work)
