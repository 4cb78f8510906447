"""The worker's round over purses: everything that is due, in the order that is fair to holders."""

from datetime import date, timedelta
from typing import Any

import pytest

from tests.factories.city import City, make_city
from tests.factories.days import check_proof, events_of, expire, go_to, purse_of, rows_of
from tests.factories.payments import fresh, make_payer, pay
from tests.factories.programmes import make_programme, spending, voucher_draft
from tests.factories.vouchers import give, purses_of
from tests.servers import Database
from wallet.core.database import write
from wallet.programmes import extend, purse_jobs
from wallet.programmes.extend import Extension, decide_extension
from wallet.programmes.purse_jobs import run_due
from wallet.programmes.terms import Expiry, ProgrammeDraft

LAST_DAY = date(2027, 3, 31)
LATER = LAST_DAY + timedelta(days=7)


async def work(city: City) -> None:
    """Do a round."""
    await run_due(city.engine, city.database_url, city.clock)


async def decide(city: City) -> None:
    """Decide that coins of the last day are good for a week longer."""
    extension = Extension(programme="coin", from_day=LAST_DAY, to_day=LATER)
    await write(
        city.engine,
        lambda connection: decide_extension(
            connection, extension=extension, reason="a test", now_us=city.clock()
        ),
    )


async def test_who_was_given_longer_on_the_last_evening_has_it_whenever_the_worker_comes(
    database: Database,
) -> None:
    async with make_city(database.application_url) as city:
        await make_programme(city.teller, voucher_draft())
        buyer = await make_payer(city, yen=0)
        await give(city.teller, buyer, "voucher", sets=1)
        go_to(city, LAST_DAY, hour=23)
        await decide(city)
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


async def test_money_used_after_the_round_looked_for_it_has_its_later_day_in_the_next(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with make_city(database.application_url, yen=0) as city:
        draft = ProgrammeDraft(
            code="used",
            name="使うと延びるポイント",
            spending=spending(last_day=date(2030, 3, 31)),
            budget_yen=100_000,
            expiry=Expiry(rule="after_last_use", months=4),
        )
        await make_programme(city.teller, draft)
        user = await make_payer(city, yen=0)
        await give(city.teller, user, "used", amount_yen=1_000)
        assert (await purse_of(city, user))[1] == LAST_DAY

        async def renew_until_midnight(*args: Any, **named: Any) -> int:  # noqa: ANN401 - as given
            renewed = await extend.renew_used(*args, **named)
            await pay(city, await fresh(city, user, amount_yen=100))
            go_to(city, LAST_DAY + timedelta(days=1), minute=5)
            return renewed

        go_to(city, LAST_DAY, hour=23, minute=59)
        with monkeypatch.context() as patch:
            patch.setattr(purse_jobs, "renew_used", renew_until_midnight)
            await work(city)
        assert not await events_of(city, "purse.expired")
        await work(city)
        assert (await purse_of(city, user))[1] == date(2027, 7, 31)
        assert await purses_of(city.engine, user) == {"used free": 900}
        await check_proof(city)


async def test_nothing_expires_that_an_extension_has_not_come_to_yet(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with make_city(database.application_url) as city:
        await make_payer(city, yen=100)
        go_to(city, LAST_DAY, hour=23)
        await decide(city)
        go_to(city, LAST_DAY + timedelta(days=1))
        monkeypatch.setattr(extend, "PURSES_PER_ROUND", 1)
        await work(city)
        days = "SELECT expires_on, ended_at IS NULL FROM purse ORDER BY expires_on"
        assert await rows_of(city, days) == [(LAST_DAY, True), (LATER, True)]
        await work(city)
        assert await rows_of(city, days) == [(LATER, True), (LATER, True)]
        assert await expire(city) == 0
        await check_proof(city)
