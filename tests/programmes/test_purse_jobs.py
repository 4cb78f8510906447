"""The worker's round over purses: everything that is due, in the order that is fair to holders."""

from datetime import date, timedelta

from tests.factories.city import City, make_city
from tests.factories.days import check_proof, events_of, go_to, purse_of
from tests.factories.payments import make_payer
from tests.factories.programmes import make_programme, voucher_draft
from tests.factories.vouchers import give, purses_of
from tests.servers import Database
from wallet.core.database import write
from wallet.programmes.extend import Extension, decide_extension
from wallet.programmes.purse_jobs import run_due

LAST_DAY = date(2027, 3, 31)
LATER = LAST_DAY + timedelta(days=7)


async def work(city: City) -> None:
    """Do a round."""
    await run_due(city.engine, city.database_url, city.clock)


async def test_who_was_given_longer_on_the_last_evening_has_it_whenever_the_worker_comes(
    database: Database,
) -> None:
    async with make_city(database.application_url) as city:
        await make_programme(city.teller, voucher_draft())
        buyer = await make_payer(city, yen=0)
        await give(city.teller, buyer, "voucher", sets=1)
        go_to(city, LAST_DAY, hour=23)
        extension = Extension(programme="coin", from_day=LAST_DAY, to_day=LATER)
        await write(
            city.engine,
            lambda connection: decide_extension(
                connection, extension=extension, reason="a test", now_us=city.clock()
            ),
        )
        go_to(city, LAST_DAY + timedelta(days=1))
        await work(city)
        assert (await purse_of(city, city.wallet_id))[1] == LATER
        assert await purses_of(city.engine, city.wallet_id) == {"coin free": 10_000}
        assert await purses_of(city.engine, buyer) == {"voucher paid": 0, "voucher premium": 0}
        await check_proof(city)


async def test_a_round_reminds_and_a_second_one_finds_nothing_more(database: Database) -> None:
    async with make_city(database.application_url) as city:
        go_to(city, LAST_DAY - timedelta(days=7))
        await work(city)
        await work(city)
        assert [one["days_left"] for one in await events_of(city, "purse.reminder")] == [7]
        assert not await events_of(city, "purse.expired")
