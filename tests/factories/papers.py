"""Paper vouchers: printed, sold over the counter, and handed in by a shop."""

from dataclasses import dataclass
from datetime import date
from typing import Any, Final
from uuid import UUID, uuid4

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from tests.factories.city import City
from tests.factories.moments import NOW_US, PEPPER
from wallet.core.database import read, write
from wallet.core.ids import new_id
from wallet.payments.redeem_paper import run_redemptions
from wallet.vouchers.paper_batches import PaperOrder, find_paper, make_paper, move_booklets
from wallet.vouchers.paper_entries import Entered, UsedSheet, enter_sheets
from wallet.vouchers.paper_issue import run_paper_issues
from wallet.vouchers.paper_rules import SerialState, SheetCode, print_code
from wallet.vouchers.paper_sales import Sale, sell_booklets

TODAY: Final = date(2026, 11, 25)
CLEARING_UNTIL: Final = date(2027, 4, 30)

_STATES = text("SELECT number, state FROM paper_serial WHERE batch_id = :id ORDER BY number")


@dataclass(frozen=True, kw_only=True)
class Paper:
    """A batch of booklets in a city, and what desks and the clearing centre do with it."""

    engine: AsyncEngine
    batch_id: UUID
    number: int
    sheets: int

    def code(self, booklet: int, sheet: int = 0) -> str:
        """Return what is printed on a sheet, or on the cover."""
        return print_code(SheetCode(self.number, booklet, sheet), pepper=PEPPER)

    async def move(self, to: SerialState, first: int, last: int | None = None) -> int:
        """Note where booklets are now."""

        async def work(connection: AsyncConnection) -> int:
            return await move_booklets(
                connection,
                batch_id=self.batch_id,
                first=first,
                last=last or first,
                to=to,
                now_us=NOW_US,
            )

        return await write(self.engine, work)

    async def sell(self, *covers: str) -> Sale:
        """Sell booklets by their covers."""

        async def work(connection: AsyncConnection) -> Sale:
            return await sell_booklets(connection, covers=covers, pepper=PEPPER, now_us=NOW_US)

        return await write(self.engine, work)

    async def enter(
        self,
        shop_id: UUID,
        *sheets: str | UsedSheet,
        used_on: date = TODAY,
        now_us: int = NOW_US,
    ) -> Entered:
        """Take in an envelope of a shop."""
        used = [UsedSheet(one) if isinstance(one, str) else one for one in sheets]

        async def work(connection: AsyncConnection) -> Entered:
            return await enter_sheets(
                connection,
                shop_id=shop_id,
                used_on=used_on,
                sheets=used,
                entered_by=uuid4(),
                pepper=PEPPER,
                now_us=now_us,
            )

        return await write(self.engine, work)

    async def states(self) -> dict[int, str]:
        """Return where each booklet is."""
        async with read(self.engine) as connection:
            rows = await connection.execute(_STATES, {"id": self.batch_id})
            return {row[0]: row[1] for row in rows}


async def make_booklets(
    engine: AsyncEngine,
    programme: str,
    **changes: Any,  # noqa: ANN401 - fields of many types
) -> Paper:
    """Print booklets of ten sheets and ship them to the desks."""
    fields: dict[str, Any] = {"booklets": 3, "sheets": 10, "clearing_until": CLEARING_UNTIL}
    order = PaperOrder(programme=programme, **{**fields, **changes})
    batch_id = new_id(now_us=NOW_US)

    async def work(connection: AsyncConnection) -> Paper:
        await make_paper(
            connection, batch_id=batch_id, order=order, ordered_by=uuid4(), now_us=NOW_US
        )
        made = await find_paper(connection, batch_id=batch_id)
        return Paper(engine=engine, batch_id=batch_id, number=made.number, sheets=made.sheets)

    paper = await write(engine, work)
    await paper.move(SerialState.SHIPPED, 1, order.booklets)
    return paper


async def sold_booklets(city: City, programme: str, booklets: int = 1) -> Paper:
    """Return booklets that were printed, shipped, sold, and have their money."""
    paper = await make_booklets(city.engine, programme, booklets=booklets)
    sale = await paper.sell(*(paper.code(number) for number in range(1, booklets + 1)))
    assert sale.errors == []
    await run_paper_issues(city.engine, city.teller)
    return paper


async def redeem(city: City) -> int:
    """Pay for what was taken in."""
    return await run_redemptions(city.engine, city.teller)
