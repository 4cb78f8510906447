"""From a reservation to the vouchers in the wallet, or back to the stock."""

import asyncio
from collections.abc import AsyncIterator
from datetime import date
from uuid import uuid4

import pytest
import pytest_asyncio
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from tests.factories.city import open_rooms
from tests.factories.moments import NOW_US, japanese
from tests.factories.people import make_wallet
from tests.factories.planting import failed
from tests.factories.programmes import make_programme, voucher_draft
from tests.factories.receipts import note, report
from tests.factories.residents import row_of
from tests.factories.sales import (
    DAY_US,
    pay_for,
    put_on_sale,
    reserve,
    slip_for,
    state_of,
    stock_of,
    told,
    wish,
)
from tests.factories.vouchers import purses_of
from tests.patience import until
from tests.servers import Database
from tests.vouchers.test_reserve import Hall
from wallet.core.clock import TestClock
from wallet.core.database import read, write
from wallet.core.refusals import RefusedError
from wallet.proof import prove
from wallet.receipts.rules import Method
from wallet.receipts.run_due import close_orders
from wallet.vouchers.lapse_purchases import lapse_due
from wallet.vouchers.purchase import Bought, cancel_purchase, list_purchases
from wallet.vouchers.purchase_storage import Purchase
from wallet.vouchers.settle_purchases import run_due, settle_purchases
from wallet.worker import run_worker

pytestmark = pytest.mark.asyncio(loop_scope="module")

LATE_US = NOW_US + 8 * DAY_US


class Shop(Hall):
    """A hall with the worker's way to its database."""

    database_url: str

    async def settle(self) -> int:
        """Have the worker issue what was paid for."""
        return await settle_purchases(
            self.engine, database_url=self.database_url, clock=TestClock(NOW_US)
        )

    async def bought(self, purchase: Purchase) -> Bought:
        """Return a purchase as its buyer sees it."""
        async with read(self.engine) as connection:
            (found,) = await list_purchases(connection, wallet_ids=[purchase.wallet_id])
        return found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(module_database: Database) -> AsyncIterator[Shop]:
    """Yield a sale called ``voucher``; a proof must hold at the end."""
    url = module_database.application_url
    async with open_rooms(url) as (engine, one), open_rooms(url) as (_, other):
        shop = Shop(engine, (one, other))
        shop.database_url = url
        await make_programme(one, voucher_draft())
        await put_on_sale(engine)
        yield shop
        proof = await prove(engine, now_us=NOW_US)
        assert proof.ok, failed(proof.checks)


async def cancel(shop: Shop, purchase: Purchase) -> None:
    """Give up a purchase as its buyer does."""

    async def work(connection: AsyncConnection) -> None:
        await cancel_purchase(
            connection, purchase_id=purchase.id, person_id=purchase.person_id, now_us=NOW_US
        )

    await write(shop.engine, work)


async def refused(shop: Shop, purchase: Purchase) -> str:
    """Return why a purchase cannot be paid for, or fail the test."""
    with pytest.raises(RefusedError) as error:
        await slip_for(shop.engine, purchase)
    return error.value.refusal.code


async def test_what_was_paid_for_is_in_the_wallet(shop: Shop) -> None:
    wallet_id = await make_wallet(shop.engine)
    _, reserved, sold = await stock_of(shop.engine)
    purchase = await reserve(shop.teller, wish(wallet_id, units=2))
    assert (await shop.bought(purchase)).state == "reserved"
    await pay_for(shop.engine, shop.teller, purchase)
    assert (await shop.bought(purchase)).state == "paid"
    assert await shop.settle() == 1
    assert (await shop.bought(purchase)).state == "issued"
    assert await purses_of(shop.engine, wallet_id) == {
        "voucher paid": 10_000,
        "voucher premium": 2_500,
    }
    assert await stock_of(shop.engine) == (100, reserved, sold + 2)
    assert await shop.settle() == 0
    assert await refused(shop, purchase) == "purchase_paid"


async def test_the_worker_issues_by_itself(shop: Shop) -> None:
    wallet_id = await make_wallet(shop.engine)
    purchase = await reserve(shop.teller, wish(wallet_id))
    await pay_for(shop.engine, shop.teller, purchase)
    working = asyncio.create_task(
        run_worker(database_url=shop.database_url, clock=TestClock(NOW_US), pause_s=0.05)
    )

    async def is_issued() -> bool:
        return await state_of(shop.engine, purchase) == "issued"

    await until(is_issued)
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)


async def test_two_workers_issue_once(shop: Shop) -> None:
    wallet_id = await make_wallet(shop.engine)
    _, reserved, sold = await stock_of(shop.engine)
    purchase = await reserve(shop.teller, wish(wallet_id))
    await pay_for(shop.engine, shop.teller, purchase)
    assert sum(await asyncio.gather(*(shop.settle() for _ in range(3)))) == 1
    assert (await purses_of(shop.engine, wallet_id))["voucher paid"] == 5_000
    assert await stock_of(shop.engine) == (100, reserved, sold + 1)


async def test_asking_again_gives_the_same_slip_and_another_way_takes_it_back(shop: Shop) -> None:
    purchase = await reserve(shop.teller, wish(await make_wallet(shop.engine)))
    store = await slip_for(shop.engine, purchase)
    assert await slip_for(shop.engine, purchase) == store
    card = await slip_for(shop.engine, purchase, method=Method.CARD)
    assert card.order_id != store.order_id
    assert (await note(shop.teller, report(store))).because == "order_over"
    assert (await note(shop.teller, report(card))).matched_yen == 5_000
    assert await refused(shop, purchase) == "purchase_paid"


async def test_a_card_page_that_has_run_out_can_be_asked_for_again(shop: Shop) -> None:
    purchase = await reserve(shop.teller, wish(await make_wallet(shop.engine)))
    first = await slip_for(shop.engine, purchase, method=Method.CARD)
    again = await slip_for(shop.engine, purchase, method=Method.CARD, now_us=NOW_US + 3_600_000_000)
    assert again.order_id != first.order_id


async def test_on_the_last_day_one_pays_while_the_money_can_still_be_reported(shop: Shop) -> None:
    await make_programme(shop.teller, voucher_draft("last-day", last_day=date(2026, 11, 25)))
    await put_on_sale(shop.engine, "last-day")
    purchase = await reserve(shop.teller, wish(await make_wallet(shop.engine), "last-day"))
    assert purchase.deadline_us == japanese("2026-11-25T23:45")
    with pytest.raises(RefusedError, match="payment_too_late"):
        await slip_for(shop.engine, purchase, method=Method.BANK)
    slip = await slip_for(shop.engine, purchase)
    assert slip.expires_us == japanese("2026-11-25T22:00")
    late = TestClock(japanese("2026-11-25T23:45"))
    async with open_rooms(shop.database_url, clock=late) as (engine, teller):
        code = await told(teller, wish(await make_wallet(engine), "last-day"))
    assert code == "outside_period"


async def test_somebody_elses_purchase_is_unknown(shop: Shop) -> None:
    purchase = await reserve(shop.teller, wish(await make_wallet(shop.engine)))
    with pytest.raises(RefusedError) as error:
        await write(
            shop.engine,
            lambda c: cancel_purchase(c, purchase_id=purchase.id, person_id=uuid4(), now_us=NOW_US),
        )
    assert error.value.refusal.code == "purchase_unknown"


async def test_what_is_given_up_is_for_others_again(shop: Shop) -> None:
    before = await stock_of(shop.engine)
    purchase = await reserve(shop.teller, wish(await make_wallet(shop.engine), units=4))
    slip = await slip_for(shop.engine, purchase)
    await cancel(shop, purchase)
    assert await stock_of(shop.engine) == before
    assert await state_of(shop.engine, purchase) == "cancelled"
    assert await refused(shop, purchase) == "purchase_over"
    assert (await note(shop.teller, report(slip))).because == "order_over"


async def test_what_was_paid_for_cannot_be_given_up(shop: Shop) -> None:
    purchase = await reserve(shop.teller, wish(await make_wallet(shop.engine)))
    await pay_for(shop.engine, shop.teller, purchase)
    with pytest.raises(RefusedError) as error:
        await cancel(shop, purchase)
    assert error.value.refusal.code == "purchase_paid"
    await shop.settle()


async def test_what_nobody_pays_for_lapses_after_its_orders_grace(shop: Shop) -> None:
    before = await stock_of(shop.engine)
    without_slip = await reserve(shop.teller, wish(await make_wallet(shop.engine)))
    with_slip = await reserve(shop.teller, wish(await make_wallet(shop.engine)))
    await slip_for(shop.engine, with_slip)
    end_us = NOW_US + 7 * DAY_US
    assert await lapse_due(shop.engine, now_us=end_us - 1) == 0
    await lapse_due(shop.engine, now_us=end_us)
    assert await state_of(shop.engine, without_slip) == "lapsed"
    assert await state_of(shop.engine, with_slip) == "reserved"
    await close_orders(shop.engine, now_us=LATE_US)
    await lapse_due(shop.engine, now_us=LATE_US)
    assert await state_of(shop.engine, with_slip) == "lapsed"
    assert (await stock_of(shop.engine))[1] <= before[1]
    events = await row_of(
        shop.engine,
        "SELECT count(*) AS n FROM outbox WHERE kind = 'purchase.lapsed' AND"
        " body->>'purchase_id' = ANY(:ids)",
        ids=[str(with_slip.id), str(without_slip.id)],
    )
    assert events["n"] == 2


async def test_money_that_was_reported_late_keeps_its_purchase(shop: Shop) -> None:
    purchase = await reserve(shop.teller, wish(await make_wallet(shop.engine)))
    slip = await slip_for(shop.engine, purchase)
    await lapse_due(shop.engine, now_us=NOW_US + 7 * DAY_US)
    assert (await note(shop.teller, report(slip))).matched_yen == 5_000
    await close_orders(shop.engine, now_us=LATE_US)
    await lapse_due(shop.engine, now_us=LATE_US)
    await shop.settle()
    assert await state_of(shop.engine, purchase) == "issued"


async def test_money_and_the_end_of_an_order_at_once_leave_one_of_them(shop: Shop) -> None:
    wallet_ids = [await make_wallet(shop.engine) for _ in range(6)]
    purchases = [await reserve(shop.teller, wish(wallet_id)) for wallet_id in wallet_ids]
    slips = [await slip_for(shop.engine, purchase) for purchase in purchases]
    noted = await asyncio.gather(
        *(note(shop.tellers[n % 2], report(slip)) for n, slip in enumerate(slips)),
        close_orders(shop.engine, now_us=LATE_US),
    )
    await lapse_due(shop.engine, now_us=LATE_US)
    await shop.settle()
    for purchase, one in zip(purchases, noted[:-1], strict=True):
        paid = getattr(one, "matched_yen", 0) > 0
        assert await state_of(shop.engine, purchase) == ("issued" if paid else "lapsed")


async def test_a_frozen_wallet_keeps_what_was_paid_for_until_it_thaws(shop: Shop) -> None:
    wallet_id = await make_wallet(shop.engine)
    purchase = await reserve(shop.teller, wish(wallet_id))
    await pay_for(shop.engine, shop.teller, purchase)
    await shop.run("UPDATE wallet SET state = 'frozen' WHERE id = :id", id=wallet_id)
    assert await shop.settle() == 0
    row = await row_of(
        shop.engine, "SELECT state, held_because FROM purchase WHERE id = :id", id=purchase.id
    )
    assert row == {"state": "reserved", "held_because": "wallet_frozen"}
    await shop.run("UPDATE wallet SET state = 'active' WHERE id = :id", id=wallet_id)
    await run_due(shop.engine, shop.database_url, TestClock(NOW_US))
    assert await state_of(shop.engine, purchase) == "issued"


async def test_stock_and_purchases_agree_in_the_end(shop: Shop) -> None:
    counted = text("""
        SELECT coalesce(sum(units) FILTER (WHERE state = 'reserved'), 0)::int,
               coalesce(sum(units) FILTER (WHERE state = 'issued'), 0)::int FROM purchase
    """)
    async with read(shop.engine) as connection:
        reserved, issued = (await connection.execute(counted)).one()
    assert await stock_of(shop.engine) == (100, reserved, issued)
