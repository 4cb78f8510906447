"""Let lapse what was reserved and not paid for: the units go back to the stock."""

from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from wallet.core.clock import to_datetime
from wallet.core.database import write
from wallet.vouchers.purchase import give_back

LAPSED_PER_BATCH: Final = 500
BATCHES_PER_ROUND: Final = 20

# An order decides: while it waits, money that was paid in time may still be reported for it.
_DUE: Final = text("""
SELECT p.id, p.programme_id
FROM purchase AS p LEFT JOIN receipt_order AS o ON o.id = p.receipt_order_id
WHERE p.state = 'reserved' AND p.deadline <= :now
  AND (o.id IS NULL OR o.state IN ('expired', 'cancelled'))
ORDER BY p.deadline LIMIT :limit FOR UPDATE OF p SKIP LOCKED
""")


async def lapse_due(engine: AsyncEngine, *, now_us: int) -> int:
    """Let lapse what is due, in batches so that buyers do not wait; return how many there were."""

    async def work(connection: AsyncConnection) -> int:
        values = {"now": to_datetime(now_us), "limit": LAPSED_PER_BATCH}
        due = (await connection.execute(_DUE, values)).all()
        if due:
            await give_back(connection, purchases=due, state="lapsed", now_us=now_us)
        return len(due)

    lapsed = 0
    for _ in range(BATCHES_PER_ROUND):
        batch = await write(engine, work)
        lapsed += batch
        if batch < LAPSED_PER_BATCH:
            break
    return lapsed
