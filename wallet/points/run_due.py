"""What the worker does for this room: paid charges become coin, ordered takings are moved."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from wallet.core.clock import Clock
from wallet.core.database import read, write
from wallet.core.refusals import Refusal
from wallet.ledger.bulk import bulk_teller
from wallet.ledger.teller import Teller
from wallet.points.charge import CHARGE
from wallet.points.shops import find_due, move_takings
from wallet.receipts.rules import Purpose
from wallet.receipts.take_paid import PaidOrder, mark_settled, take_paid

CHARGES_PER_ROUND: Final = 2_000


async def run_due(engine: AsyncEngine, database_url: str, clock: Clock) -> None:
    """Do what is due now, a bounded part of it; whatever is left is done in the next round."""
    orders = await find_due(engine)
    async with read(engine) as connection:
        paid = await take_paid(connection, purpose=Purpose.CHARGE, limit=CHARGES_PER_ROUND)
    if not orders and not paid:
        return
    async with bulk_teller(database_url, clock=clock) as teller:
        await move_takings(teller, orders)
        await charge_paid(engine, teller, paid, now_us=clock())


async def charge_paid(
    engine: AsyncEngine, teller: Teller, paid: Sequence[PaidOrder], *, now_us: int
) -> int:
    """Fulfil charges that were paid and return how many; the others are given again."""
    futures = [teller.submit(CHARGE, order.reference_id) for order in paid]
    answers: list[Refusal | None] = [await future for future in futures]
    done = [order.id for order, answer in zip(paid, answers, strict=True) if answer is None]

    async def work(connection: AsyncConnection) -> int:
        return await mark_settled(connection, order_ids=done, now_us=now_us)

    return await write(engine, work) if done else 0
