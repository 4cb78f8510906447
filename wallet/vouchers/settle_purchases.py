"""Issue what was paid for, and let lapse what was not: the worker's part of buying.

The purchase's id is the issue's id, so whatever is done twice is done once. A purchase that is
paid for and cannot be issued, because its wallet is frozen or the service is stopped, keeps its
units and is tried again; the reason stands in its row, for the office to see.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from wallet.core.clock import Clock
from wallet.core.database import read, write
from wallet.ledger.bulk import bulk_teller
from wallet.ledger.rules import NIL
from wallet.ledger.teller import Teller
from wallet.receipts.rules import Purpose
from wallet.receipts.take_paid import PaidOrder, mark_settled, take_paid
from wallet.vouchers.issue import Issued, Refused
from wallet.vouchers.issue_many import issue_many
from wallet.vouchers.lapse_purchases import lapse_due
from wallet.vouchers.purchase import end_issued
from wallet.vouchers.rules import IssueRequest

SETTLED_PER_BATCH: Final = 500
BATCHES_PER_ROUND: Final = 20

_FIND: Final = text("""
SELECT p.id, g.code AS programme, p.wallet_id, p.units
FROM purchase AS p JOIN programme AS g ON g.id = p.programme_id
WHERE p.id = ANY(CAST(:ids AS uuid[]))
""")

_LOCK: Final = text("""
SELECT id, programme_id FROM purchase
WHERE id = ANY(CAST(:ids AS uuid[])) AND state = 'reserved' ORDER BY id FOR UPDATE
""")

_HOLD: Final = text("""
UPDATE purchase AS p SET held_because = new.because
FROM unnest(CAST(:ids AS uuid[]), CAST(:reasons AS text[])) AS new (id, because)
WHERE p.id = new.id AND p.held_because IS DISTINCT FROM new.because
""")


async def run_due(engine: AsyncEngine, database_url: str, clock: Clock) -> None:
    """Do what is due now; whatever is left over is done in the next round."""
    await settle_purchases(engine, database_url=database_url, clock=clock)
    await lapse_due(engine, now_us=clock())


async def settle_purchases(engine: AsyncEngine, *, database_url: str, clock: Clock) -> int:
    """Issue what was paid for, and return how many purchases that were."""
    orders = await _take(engine, NIL)
    if not orders:
        return 0
    settled = 0
    async with bulk_teller(database_url, clock=clock) as teller:
        for _ in range(BATCHES_PER_ROUND):
            settled += await _settle(engine, teller, orders, now_us=clock())
            if len(orders) < SETTLED_PER_BATCH:
                break
            orders = await _take(engine, orders[-1].id)
    return settled


async def _take(engine: AsyncEngine, after: UUID) -> list[PaidOrder]:
    async with read(engine) as connection:
        return await take_paid(
            connection, purpose=Purpose.VOUCHER, limit=SETTLED_PER_BATCH, after=after
        )


async def _settle(
    engine: AsyncEngine, teller: Teller, orders: Sequence[PaidOrder], *, now_us: int
) -> int:
    """Issue a batch, and write down what came of it in one transaction."""
    async with read(engine) as connection:
        values = {"ids": [order.reference_id for order in orders]}
        rows = (await connection.execute(_FIND, values)).all()
    requests = [
        IssueRequest(
            issue_id=row.id, wallet_id=row.wallet_id, programme=row.programme, sets=row.units
        )
        for row in rows
    ]
    answers = await issue_many(teller, requests=requests)
    outcomes = {request.issue_id: answer for request, answer in zip(requests, answers, strict=True)}

    async def work(connection: AsyncConnection) -> int:
        return await _note(connection, orders, outcomes, now_us=now_us)

    return await write(engine, work)


async def _note(
    connection: AsyncConnection,
    orders: Sequence[PaidOrder],
    outcomes: Mapping[UUID, Issued | Refused],
    *,
    now_us: int,
) -> int:
    issued = [key for key, answer in outcomes.items() if isinstance(answer, Issued)]
    locked: Sequence[Any] = (await connection.execute(_LOCK, {"ids": issued})).all()
    if locked:
        await end_issued(connection, purchases=locked, now_us=now_us)
    given = set(issued)
    order_ids = [order.id for order in orders if order.reference_id in given]
    await mark_settled(connection, order_ids=order_ids, now_us=now_us)
    refused = {
        key: answer.refusal.code for key, answer in outcomes.items() if isinstance(answer, Refused)
    }
    await connection.execute(_HOLD, {"ids": list(refused), "reasons": list(refused.values())})
    return len(locked)
