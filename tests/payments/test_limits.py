"""Ceilings of a payment and of a Japanese day, of the wallet and of the card."""

import pytest
from sqlalchemy import text

from tests.factories.city import City, make_city
from tests.factories.moments import NOW_US, japanese
from tests.factories.payments import (
    ask_to_pay,
    ask_together,
    by_card,
    declined,
    fresh,
    make_payer,
    pay,
)
from tests.factories.people import make_card
from tests.factories.vouchers import purses_of
from tests.servers import Database
from wallet.core.clock import TestClock
from wallet.core.database import read
from wallet.core.refusals import Refusal
from wallet.payments.pay import Paid

pytestmark = pytest.mark.asyncio(loop_scope="module")

SPENT = text("SELECT spent_yen FROM spending WHERE holder_id = :holder_id")


async def spent_yen(city: City, holder_id: object) -> int:
    """Return what a wallet or card has spent on the day it last spent on."""
    async with read(city.engine) as connection:
        return int((await connection.execute(SPENT, {"holder_id": holder_id})).scalar_one())


@pytest.mark.asvs("v5.0.0-2.3.2")
async def test_a_payment_reaches_its_limit_and_does_not_pass_it(city: City) -> None:
    wallet_id = await make_payer(city, payment_limit_yen=2_000)
    await pay(city, await fresh(city, wallet_id, amount_yen=2_000))
    refusal = await declined(city, await fresh(city, wallet_id, amount_yen=2_001))
    assert refusal == Refusal("limit_payment", {"limit_yen": 2_000})


@pytest.mark.asvs("v5.0.0-2.3.2")
async def test_a_day_reaches_its_limit_and_does_not_pass_it(city: City) -> None:
    wallet_id = await make_payer(city, daily_limit_yen=2_500)
    await pay(city, await fresh(city, wallet_id, amount_yen=1_500))
    refusal = await declined(city, await fresh(city, wallet_id, amount_yen=1_001))
    assert refusal == Refusal("limit_daily", {"limit_yen": 2_500, "left_yen": 1_000})
    await pay(city, await fresh(city, wallet_id, amount_yen=1_000))
    refusal = await declined(city, await fresh(city, wallet_id, amount_yen=1))
    assert refusal == Refusal("limit_daily", {"limit_yen": 2_500, "left_yen": 0})


async def test_a_declined_payment_does_not_count_towards_the_day(city: City) -> None:
    wallet_id = await make_payer(city, yen=1_000, daily_limit_yen=3_000)
    for _ in range(3):
        refusal = await declined(city, await fresh(city, wallet_id, amount_yen=2_000))
        assert refusal.code == "balance_insufficient"
    assert await spent_yen(city, wallet_id) == 0
    await pay(city, await fresh(city, wallet_id, amount_yen=1_000))
    assert await spent_yen(city, wallet_id) == 1_000


async def test_payments_of_one_batch_count_towards_the_day_of_each_other(city: City) -> None:
    wallet_id = await make_payer(city, daily_limit_yen=2_500)
    answers = await ask_together(city, [await fresh(city, wallet_id) for _ in range(4)])
    left = Refusal("limit_daily", {"limit_yen": 2_500, "left_yen": 500})
    assert [one.payment.refusal for one in answers if isinstance(one, Paid)] == [
        None,
        None,
        left,
        left,
    ]
    assert await spent_yen(city, wallet_id) == 2_000


async def test_the_cards_of_a_wallet_have_ceilings_of_their_own(city: City) -> None:
    wallet_id = await make_payer(city, daily_limit_yen=5_000)
    small = await make_card(city.engine, wallet_id, daily_limit_yen=1_500)
    large = await make_card(city.engine, wallet_id, payment_limit_yen=9_000)
    await pay(city, by_card(city, small.qr_value))
    assert await declined(city, by_card(city, small.qr_value)) == Refusal(
        "limit_daily", {"limit_yen": 1_500, "left_yen": 500}
    )
    assert await declined(city, by_card(city, small.qr_value, amount_yen=3_001)) == Refusal(
        "limit_payment", {"limit_yen": 3_000}
    )
    # What the one card has spent, the other cannot, because the wallet is one.
    assert await declined(city, by_card(city, large.qr_value, amount_yen=4_001)) == Refusal(
        "limit_daily", {"limit_yen": 5_000, "left_yen": 4_000}
    )
    await pay(city, by_card(city, large.qr_value, amount_yen=4_000))
    assert await spent_yen(city, wallet_id) == 5_000
    assert await spent_yen(city, small.id) == 1_000
    assert await spent_yen(city, large.id) == 4_000


async def test_a_code_does_not_count_towards_a_cards_day(city: City) -> None:
    wallet_id = await make_payer(city)
    card = await make_card(city.engine, wallet_id, daily_limit_yen=1_000)
    await pay(city, await fresh(city, wallet_id, amount_yen=5_000))
    await pay(city, by_card(city, card.qr_value))


async def test_the_day_of_the_limits_ends_at_midnight_in_japan(module_database: Database) -> None:
    clock = TestClock(NOW_US)
    async with make_city(module_database.application_url, clock=clock) as city:
        wallet_id = await make_payer(city, daily_limit_yen=1_000)
        card = await make_card(city.engine, wallet_id, daily_limit_yen=1_000)
        clock.now_us = japanese("2026-11-25T23:59:59.999999")
        await pay(city, by_card(city, card.qr_value))
        assert (await declined(city, await fresh(city, wallet_id))).code == "limit_daily"
        clock.now_us += 1
        await pay(city, by_card(city, card.qr_value))
        assert (await declined(city, by_card(city, card.qr_value))).code == "limit_daily"
        assert await spent_yen(city, wallet_id) == 1_000
        # Midnight in London is nine in the morning here, and changes nothing.
        clock.now_us = japanese("2026-11-26T09:00:00")
        assert (await declined(city, await fresh(city, wallet_id))).code == "limit_daily"


async def test_a_clock_that_is_behind_gives_nobody_a_second_day(module_database: Database) -> None:
    clock = TestClock(NOW_US)
    async with make_city(module_database.application_url, clock=clock) as city:
        wallet_id = await make_payer(city, daily_limit_yen=1_000)
        clock.now_us = japanese("2026-11-26T00:00:00")
        await pay(city, await fresh(city, wallet_id))
        # Another process whose clock is a little slow still has yesterday.
        clock.now_us = japanese("2026-11-25T23:59:59.999")
        assert (await declined(city, await fresh(city, wallet_id))).code == "limit_daily"
        clock.now_us = japanese("2026-11-26T00:00:01")
        assert (await declined(city, await fresh(city, wallet_id))).code == "limit_daily"
        assert await purses_of(city.engine, wallet_id) == {"coin free": 9_000}


async def test_a_wallet_with_a_limit_of_nothing_pays_nothing(city: City) -> None:
    wallet_id = await make_payer(city, payment_limit_yen=0)
    answer = await ask_to_pay(city, await fresh(city, wallet_id, amount_yen=1))
    assert isinstance(answer, Paid)
    assert answer.payment.refusal == Refusal("limit_payment", {"limit_yen": 0})
