"""What desks have decided about cards and paper is carried out by the worker, by itself."""

import asyncio
from functools import partial
from uuid import uuid4

from tests.factories.card_batches import activated_card, make_cards
from tests.factories.city import make_city
from tests.factories.moments import NOW_US
from tests.factories.papers import make_booklets
from tests.factories.programmes import make_programme, voucher_draft
from tests.factories.vouchers import give, purses_of
from tests.patience import until
from tests.servers import Database
from wallet.core.database import write
from wallet.people.cards import replace_card
from wallet.proof import prove
from wallet.worker import run_worker


async def test_the_worker_issues_paper_pays_for_it_and_lets_money_follow(
    database: Database,
) -> None:
    async with make_city(database.application_url) as city:
        await make_programme(city.teller, voucher_draft())
        paper = await make_booklets(city.engine, "voucher")
        (serial_id,) = (await paper.sell(paper.code(1))).serial_ids
        await paper.enter(city.merchant.shop_id, paper.code(1, 1))
        _, activated = await activated_card(city.engine)
        await give(city.teller, activated.wallet_id, amount_yen=500)
        (new,) = (await make_cards(city.engine)).cards
        work = partial(
            replace_card,
            card_id=activated.card_id,
            number=new.printed_number,
            decided_by=uuid4(),
            now_us=NOW_US,
        )
        replaced = await write(city.engine, work)
        running = asyncio.create_task(
            run_worker(database_url=database.application_url, clock=city.clock, pause_s=0.05)
        )

        async def is_done() -> bool:
            booklet = await purses_of(city.engine, serial_id)
            card = await purses_of(city.engine, replaced.wallet_id)
            return sum(booklet.values()) == 5_625 and card == {"coin free": 500}

        try:
            await until(is_done)
        finally:
            running.cancel()
            await asyncio.wait([running])
        proof = await prove(city.engine, now_us=NOW_US)
        assert proof.ok, proof.as_dict()
