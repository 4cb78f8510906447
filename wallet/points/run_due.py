"""What the worker does for this room: paid charges become coin, ordered takings are moved."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from wallet.core.clock import Clock
from wallet.core.database import read, write
from wallet.ledger.bulk import bulk_teller
from wallet.ledger.rules import NIL
from wallet.ledger.teller import Teller
from wallet.points.charge import CHARGE
from wallet.points.shops import find_due, move_takings
from wallet.receipts.rules import Purpose
from wallet.receipts.take_paid import PaidOrder, mark_settled, take_paid

CHARGES_PER_PAGE: Final = 2_000
PAGES_PER_ROUND: Final = 50

logger = logging.getLogger(__name__)


async def run_due(engine: AsyncEngine, database_url: str, clock: Clock) -> None:
    """Do what is due now, a bounded part of it; whatever is left is done in the next round."""
    orders = await find_due(engine)
    paid = await _take(engine, NIL)
    if not orders and not paid:
        return
    async with bulk_teller(database_url, clock=clock) as teller:
        await move_takings(teller, orders)
        for _ in range(PAGES_PER_ROUND):
            await charge_paid(engine, teller, paid, now_us=clock())
            if len(paid) < CHARGES_PER_PAGE:
                break
            # Beyond those that cannot be fulfilled now, or they would keep all others waiting.
            paid = await _take(engine, paid[-1].id)


async def _take(engine: AsyncEngine, after: UUID) -> list[PaidOrder]:
    async with read(engine) as connection:
        return await take_paid(
            connection, purpose=Purpose.CHARGE, limit=CHARGES_PER_PAGE, after=after
        )


async def charge_paid(
    engine: AsyncEngine, teller: Teller, paid: Sequence[PaidOrder], *, now_us: int
) -> int:
    """Fulfil charges that were paid and return how many; the others are given again."""
    futures = [teller.submit(CHARGE, order.reference_id) for order in paid]
    answers = await asyncio.gather(*futures, return_exceptions=True)
    for order, answer in zip(paid, answers, strict=True):
        if isinstance(answer, BaseException):  # Its message may quote values of rows.
            logger.error("charge %s failed: %s", order.reference_id, type(answer).__name__)
    done = [order.id for order, answer in zip(paid, answers, strict=True) if answer is None]

    async def work(connection: AsyncConnection) -> int:
        return await mark_settled(connection, order_ids=done, now_us=now_us)

    return await write(engine, work) if done else 0
