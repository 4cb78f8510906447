"""A campaign draws and sells in the app only what is not on paper."""

from datetime import datetime

from tests.factories.campaigns import (
    RESULTS_ON,
    close_applications,
    make_applicant,
    make_fair,
    open_applications,
)
from tests.factories.city import open_rooms
from tests.factories.moments import NOW_US
from tests.factories.papers import make_booklets
from tests.factories.sales import stock_of
from tests.servers import Database
from wallet.core.clock import TestClock
from wallet.vouchers.campaigns_rules import NOTICE_FROM


async def test_what_is_on_paper_is_neither_drawn_nor_on_sale(database: Database) -> None:
    clock = TestClock(NOW_US)
    async with open_rooms(database.application_url, clock=clock) as (engine, teller):
        fair = await open_applications(await make_fair(engine, teller, clock, sets_total=6))
        await make_booklets(engine, "voucher", booklets=4)
        for _ in range(3):
            await fair.apply(await make_applicant(engine, now_us=clock()))
        await close_applications(fair)
        await fair.draw()
        told = await fair.refused(make_booklets(engine, "voucher", booklets=1))
        assert told.refusal.code == "paper_sold_out"
        fair.go_to(datetime.combine(RESULTS_ON, NOTICE_FROM))
        await fair.work()
        assert len(await fair.events("application.won")) == 2
        assert await stock_of(engine) == (2, 0, 0)
