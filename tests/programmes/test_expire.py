"""Expiry: what is left after a last day goes to the budget, once, and nothing before that."""

import asyncio
from datetime import date, timedelta

from tests.factories.city import City, make_city
from tests.factories.days import check_proof, events_of, expire, go_to, purse_of, rows_of
from tests.factories.ledger import codes, pending, void
from tests.factories.papers import CLEARING_UNTIL, redeem, sold_booklets
from tests.factories.payments import by_card, declined, engage, fresh, make_payer, pay, release
from tests.factories.programmes import make_programme, voucher_draft
from tests.factories.vouchers import give, purses_of
from tests.servers import Database
from wallet.core.ids import new_id
from wallet.core.money import LEDGER_JPY
from wallet.ledger.chart import TRANSFER_PAYMENT
from wallet.programmes.expire import EXPIRE, GRACE_S, Expired, ExpireRequest

LAST_DAY = date(2027, 3, 31)
DAY_AFTER = LAST_DAY + timedelta(days=1)


async def ended(city: City) -> int:
    """Return how many purses have ended."""
    ((count,),) = await rows_of(city, "SELECT count(*) FROM purse WHERE ended_at IS NOT NULL")
    return int(count)


async def test_money_expires_after_its_last_day_and_not_on_it(database: Database) -> None:
    async with make_city(database.application_url) as city:
        go_to(city, LAST_DAY, hour=23, minute=59)
        assert await expire(city) == 0
        go_to(city, DAY_AFTER, hour=0, minute=0)
        assert await expire(city) == 0, "whoever is just paying is left the time"
        go_to(city, DAY_AFTER, hour=0, minute=GRACE_S // 60)
        assert await expire(city) == 1
        assert await purses_of(city.engine, city.wallet_id) == {"coin free": 0}
        assert await expire(city) == 0
        assert await events_of(city, "purse.expired") == [
            {
                "wallet_id": str(city.wallet_id),
                "programme": "coin",
                "funding": "free",
                "expired_on": "2027-03-31",
                "amount_yen": 10_000,
            }
        ]
        await check_proof(city)


async def test_a_payment_is_refused_from_midnight_on_however_late_the_worker_is(
    database: Database,
) -> None:
    async with make_city(database.application_url) as city:
        go_to(city, LAST_DAY, hour=23, minute=59)
        await pay(city, by_card(city, city.card.qr_value))
        go_to(city, DAY_AFTER, hour=0, minute=0)
        assert (await declined(city, by_card(city, city.card.qr_value))).code == (
            "balance_insufficient"
        )
        go_to(city, DAY_AFTER)
        assert await expire(city) == 1
        assert (await events_of(city, "purse.expired"))[0]["amount_yen"] == 9_000
        await check_proof(city)


async def test_paid_and_premium_money_go_to_the_budget_each_from_its_own_purse(
    database: Database,
) -> None:
    async with make_city(database.application_url) as city:
        await make_programme(city.teller, voucher_draft())
        holder = await make_payer(city, yen=0)
        await give(city.teller, holder, "voucher", sets=2)
        await pay(city, await fresh(city, holder, amount_yen=10_500))
        go_to(city, DAY_AFTER)
        assert await expire(city) == 3
        told = [one for one in await events_of(city, "purse.expired") if one["programme"] != "coin"]
        assert [(one["funding"], one["amount_yen"]) for one in told] == [("premium", 2_000)]
        assert await ended(city) == 3, "a purse that is empty ends without a word"
        await check_proof(city)


async def test_a_purse_with_an_open_hold_waits_for_it(database: Database) -> None:
    async with make_city(database.application_url) as city:
        purse_id, _ = await purse_of(city, city.wallet_id)
        hold = pending(
            purse_id,
            city.merchant.shop_id,
            1_000,
            ledger=LEDGER_JPY,
            code=TRANSFER_PAYMENT,
            user_data_32=1,
        )
        assert await codes(city.teller, hold) == ["created"]
        go_to(city, DAY_AFTER)
        assert await expire(city) == 0
        assert await codes(city.teller, void(hold)) == ["created"]
        assert await expire(city) == 1
        assert (await events_of(city, "purse.expired"))[0]["amount_yen"] == 10_000


async def test_a_stopped_programme_s_money_stays_until_it_goes_on(database: Database) -> None:
    async with make_city(database.application_url) as city:
        go_to(city, DAY_AFTER)
        await engage(city, "programme:coin")
        assert await expire(city) == 0
        await release(city, "programme:coin")
        assert await expire(city) == 1
        await check_proof(city)


async def test_a_booklet_s_money_stays_while_a_sheet_that_came_in_on_time_waits(
    database: Database,
) -> None:
    async with make_city(database.application_url, yen=0) as city:
        await make_programme(city.teller, voucher_draft())
        paper = await sold_booklets(city, "voucher", 2)
        await paper.enter(city.merchant.shop_id, paper.code(1, 1))
        await engage(city, "pay")
        assert await redeem(city) == 1
        go_to(city, CLEARING_UNTIL + timedelta(days=1))
        assert await expire(city) == 2, "the other booklet's, paid and premium"
        left = await rows_of(city, "SELECT account_id FROM purse WHERE ended_at IS NULL")
        purses = tuple((row[0], new_id(now_us=city.clock())) for row in left)
        at_once: Expired = await city.teller.submit(EXPIRE, ExpireRequest(purses))
        assert at_once == Expired(0, 2, 0), "a sheet that came in after they were looked for"
        await release(city, "pay")
        assert await redeem(city) == 1
        assert await rows_of(city, "SELECT state, amount_yen FROM payment") == [("succeeded", 625)]
        assert await expire(city) == 2
        await check_proof(city)


async def test_two_workers_end_each_purse_once(database: Database) -> None:
    async with make_city(database.application_url) as city:
        wallets = [await make_payer(city, yen=100 + n) for n in range(30)]
        go_to(city, DAY_AFTER)
        assert sum(await asyncio.gather(expire(city), expire(city), expire(city))) == 31
        assert {
            yen
            for wallet_id in wallets
            for yen in (await purses_of(city.engine, wallet_id)).values()
        } == {0}
        assert len(await events_of(city, "purse.expired")) == 31
        await check_proof(city)
