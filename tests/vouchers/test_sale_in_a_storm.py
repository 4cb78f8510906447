"""A whole sale with everything at once: whoever comes in between whom, the books agree."""

import asyncio
import random
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text

from tests.factories.city import open_rooms
from tests.factories.moments import NOW_US
from tests.factories.people import make_wallet
from tests.factories.planting import failed
from tests.factories.programmes import frame, make_programme, voucher_draft
from tests.factories.receipts import note, report
from tests.factories.sales import DAY_US, put_on_sale, slip_for, stock_of, wish
from tests.servers import Database
from tests.vouchers.test_purchases import Shop
from wallet.core.database import read, write
from wallet.core.refusals import RefusedError
from wallet.proof import prove
from wallet.receipts.rules import Method
from wallet.receipts.run_due import close_orders
from wallet.vouchers.lapse_purchases import lapse_due
from wallet.vouchers.purchase import cancel_purchase
from wallet.vouchers.reserve import RESERVE, Reserved

UNITS = 30
BUYERS = 40
LATE_US = NOW_US + 9 * DAY_US

# Everything that must agree at the end, as pairs of yen or units.
AGREE = text("""
SELECT s.units_reserved = coalesce(sum(p.units) FILTER (WHERE p.state = 'reserved'), 0),
       s.units_sold = coalesce(sum(p.units) FILTER (WHERE p.state = 'issued'), 0),
       (SELECT coalesce(sum(amount_yen), 0) FROM receipt_order WHERE state = 'paid')
           = (SELECT coalesce(sum(amount_yen - suspended_yen), 0) FROM receipt),
       (SELECT coalesce(sum(amount), 0) FROM transfer WHERE code = 20)
           = coalesce(sum(p.face_yen) FILTER (WHERE p.state = 'issued'), 0),
       NOT EXISTS (SELECT FROM purchase AS q JOIN receipt_order AS o ON o.reference_id = q.id
                   WHERE o.state = 'paid' AND q.state NOT IN ('reserved', 'issued'))
FROM stock AS s LEFT JOIN purchase AS p ON p.programme_id = s.programme_id GROUP BY s.programme_id
""")


@pytest.fixture
async def shop(database: Database) -> AsyncIterator[Shop]:
    """Yield a sale of a few units that two processes serve."""
    url = database.application_url
    async with open_rooms(url) as (engine, one), open_rooms(url) as (_, other):
        shop = Shop(engine, (one, other))
        shop.database_url = url
        terms = frame(sets_total=UNITS, sets_per_person=2)
        await make_programme(one, voucher_draft(frame_=terms))
        await put_on_sale(engine, units_total=UNITS)
        yield shop


async def buy(shop: Shop, chance: random.Random) -> None:
    """Go through a purchase as somebody does who may change their mind, or pay twice."""
    wallet_id = await make_wallet(shop.engine)
    teller = chance.choice(shop.tellers)
    for _ in range(chance.randint(1, 3)):
        answer = await teller.submit(RESERVE, wish(wallet_id, units=chance.randint(1, 2)))
        if not isinstance(answer, Reserved):
            continue
        purchase = answer.purchase
        step = chance.random()
        if step < 0.2:
            continue  # Forgets about it.
        try:
            slip = await slip_for(shop.engine, purchase, method=chance.choice(list(Method)))
            if step < 0.4:
                await write(
                    shop.engine,
                    lambda c, one=purchase: cancel_purchase(  # type: ignore[misc] # - bound now
                        c, purchase_id=one.id, person_id=one.person_id, now_us=NOW_US
                    ),
                )
        except RefusedError:
            continue
        amount_yen = slip.amount_yen - (step > 0.9)
        for _ in range(chance.randint(1, 2)):
            await note(chance.choice(shop.tellers), report(slip, amount_yen=amount_yen))


async def work(shop: Shop) -> None:
    """Do what the worker does, some of it as if days had gone by."""
    for _ in range(6):
        await asyncio.sleep(0.05)
        await shop.settle()
        await close_orders(shop.engine, now_us=LATE_US)
        await lapse_due(shop.engine, now_us=LATE_US)


@pytest.mark.parametrize("seed", [1, 2])
async def test_money_units_and_vouchers_agree(shop: Shop, seed: int) -> None:
    buyers = [
        buy(shop, random.Random(BUYERS * seed + number))  # noqa: S311 - repeatable, not secret
        for number in range(BUYERS)
    ]
    await asyncio.gather(*buyers, work(shop), work(shop))
    await shop.settle()
    async with read(shop.engine) as connection:
        agreements = (await connection.execute(AGREE)).one()
    assert tuple(agreements) == (True,) * 5
    total, reserved, sold = await stock_of(shop.engine)
    assert (total, sold > 0, reserved + sold <= total) == (UNITS, True, True)
    await lapse_due(shop.engine, now_us=LATE_US)
    proof = await prove(shop.engine, now_us=NOW_US)
    assert proof.ok, failed(proof.checks)
