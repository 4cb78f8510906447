"""What the worker does once desks have decided about cards and paper: money is issued or moved."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from wallet.core.clock import Clock
from wallet.core.database import read
from wallet.ledger.bulk import bulk_teller
from wallet.vouchers.move import is_money_left, run_moves
from wallet.vouchers.paper_issue import run_paper_issues

_IS_DUE = text("""
SELECT EXISTS (SELECT FROM paper_serial
               WHERE sold_at IS NOT NULL AND issued_at IS NULL AND refusal IS NULL)
""")


async def run_due(engine: AsyncEngine, database_url: str, clock: Clock) -> int:
    """Issue the money of booklets that were sold, let that of replaced cards follow.

    Returns how many booklets and replacements were looked at; more of them are another round's.
    """
    async with read(engine) as connection:
        is_due = (await connection.execute(_IS_DUE)).scalar_one()
        if not is_due and not await is_money_left(connection):
            return 0
    async with bulk_teller(database_url, clock=clock) as teller:
        issued = await run_paper_issues(engine, teller)
        return issued + await run_moves(engine, teller, clock=clock)
