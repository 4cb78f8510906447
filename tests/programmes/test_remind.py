"""Reminders: at their steps, once, by day, and only to whoever has something left."""

import asyncio
from datetime import date, timedelta
from typing import Any

import pytest

from tests.factories.city import City, make_city
from tests.factories.days import events_of, go_to
from tests.factories.payments import fresh, make_payer, pay
from tests.factories.programmes import make_programme, voucher_draft
from tests.factories.vouchers import give
from tests.servers import Database
from wallet.programmes.remind import STEPS_DAYS, due_on, remind_due

LAST_DAY = date(2027, 3, 31)


async def remind(city: City) -> int:
    """Have the worker remind."""
    return await remind_due(city.engine, database_url=city.database_url, clock=city.clock)


async def told(city: City) -> list[dict[str, Any]]:
    """Return what holders were told."""
    return await events_of(city, "purse.reminder")


async def test_a_holder_is_reminded_at_each_step_and_no_other_day(database: Database) -> None:
    async with make_city(database.application_url) as city:
        reminded = []
        for days_left in range(35, -3, -1):
            go_to(city, LAST_DAY - timedelta(days=days_left), hour=9)
            if await remind(city):
                reminded.append(days_left)
        assert reminded == list(STEPS_DAYS)
        assert [one["days_left"] for one in await told(city)] == list(STEPS_DAYS)


async def test_one_reminder_is_for_all_purses_of_a_programme_and_day(database: Database) -> None:
    async with make_city(database.application_url, yen=0) as city:
        await make_programme(city.teller, voucher_draft())
        holder = await make_payer(city, yen=0)
        await give(city.teller, holder, "voucher", sets=2)
        go_to(city, LAST_DAY - timedelta(days=7))
        assert await remind(city) == 1
        assert await told(city) == [
            {
                "wallet_id": str(holder),
                "programme": "voucher",
                "expires_on": "2027-03-31",
                "days_left": 7,
                "amount_yen": 12_500,
            }
        ]
        assert await remind(city) == 0, "once a day"


async def test_nobody_is_reminded_before_nine_or_without_money(database: Database) -> None:
    async with make_city(database.application_url) as city:
        poor = await make_payer(city, yen=1_000)
        await pay(city, await fresh(city, poor))
        go_to(city, LAST_DAY - timedelta(days=14), hour=8, minute=59)
        assert await remind(city) == 0
        go_to(city, LAST_DAY - timedelta(days=14), hour=9)
        assert await remind(city) == 1
        assert [one["wallet_id"] for one in await told(city)] == [str(city.wallet_id)]


async def test_a_step_missed_by_a_day_is_told_and_one_missed_by_two_is_not(
    database: Database,
) -> None:
    async with make_city(database.application_url) as city:
        go_to(city, LAST_DAY - timedelta(days=13))
        assert await remind(city) == 1
        go_to(city, LAST_DAY - timedelta(days=5))
        assert await remind(city) == 0
        assert [one["days_left"] for one in await told(city)] == [13]


async def test_two_workers_remind_each_holder_once(database: Database) -> None:
    async with make_city(database.application_url) as city:
        for _ in range(20):
            await make_payer(city, yen=100)
        go_to(city, LAST_DAY - timedelta(days=3))
        assert sum(await asyncio.gather(remind(city), remind(city), remind(city))) == 21
        assert len(await told(city)) == 21


@pytest.mark.parametrize("today", [date(2027, 2, 27), date(2028, 2, 28)])
def test_every_step_is_asked_for_on_its_day_and_the_day_after(today: date) -> None:
    steps = dict(due_on(today))
    for step in STEPS_DAYS:
        assert steps[today + timedelta(days=step)] == step
        assert steps[today + timedelta(days=step - 1)] == step
