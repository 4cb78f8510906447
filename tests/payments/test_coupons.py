"""Coupons on payments, on the real ledger: what they take off, who pays that, and how often."""

from datetime import date
from uuid import UUID

import pytest
from sqlalchemy import text

from tests.factories.bonuses import bonus, budget_left, coupon, grants_of, make_giving, pick
from tests.factories.city import City
from tests.factories.payments import (
    again,
    ask_to_pay,
    ask_together,
    declined,
    fresh,
    make_payer,
    pay,
)
from tests.factories.people import make_wallet
from tests.factories.vouchers import give, purses_of
from wallet.core.database import read
from wallet.payments.pay import Paid
from wallet.payments.rules import Discount, Part

pytestmark = pytest.mark.asyncio(loop_scope="module")

PAYABLE = text("""
SELECT (credits_posted - debits_posted)::bigint FROM balance WHERE account_id = :account_id
""")
CHOSEN = text("SELECT coupon FROM wallet WHERE id = :id")


async def owed(city: City) -> int:
    """Return what is owed to the city's shop."""
    async with read(city.engine) as connection:
        values = {"account_id": city.merchant.shop_id}
        yen: int = (await connection.execute(PAYABLE, values)).scalar_one()
        return yen


async def chosen(city: City, wallet_id: UUID) -> str | None:
    """Return the coupon that a wallet uses next."""
    async with read(city.engine) as connection:
        key: str | None = (await connection.execute(CHOSEN, {"id": wallet_id})).scalar_one()
        return key


async def test_the_city_pays_the_shop_what_a_coupon_takes_off(city: City) -> None:
    await make_giving(city, "spring-sale", coupons=[coupon()])
    wallet_id = await make_payer(city)
    await pick(city, wallet_id, "spring-sale:spring")
    before, budget = await owed(city), await budget_left(city, "spring-sale")
    request = await fresh(city, wallet_id, amount_yen=1_000)
    payment = await pay(city, request)
    assert payment.parts == (Part("coin", "free", 700),)
    assert payment.discount == Discount("spring-sale:spring", 300)
    assert payment.amount_yen == 1_000
    assert await purses_of(city.engine, wallet_id) == {"coin free": 9_300}
    assert await owed(city) - before == 1_000
    assert budget - await budget_left(city, "spring-sale") == 300
    assert await chosen(city, wallet_id) is None
    # What is read back later is what was answered at once.
    assert await ask_to_pay(city, again(city, request)) == Paid(payment, replayed=True)


async def test_a_coupon_waits_for_a_payment_that_it_fits(city: City) -> None:
    await make_giving(city, "patient-sale", coupons=[coupon()])
    wallet_id = await make_payer(city)
    await pick(city, wallet_id, "patient-sale:spring")
    assert (await pay(city, await fresh(city, wallet_id, amount_yen=499))).discount is None
    assert await chosen(city, wallet_id) == "patient-sale:spring"
    assert (await pay(city, await fresh(city, wallet_id, amount_yen=500))).discount is not None


async def test_a_coupon_is_used_as_often_as_it_says(city: City) -> None:
    await make_giving(city, "twice-sale", coupons=[coupon(per_person=2)])
    wallet_id = await make_payer(city)
    taken = []
    for _ in range(3):
        await pick(city, wallet_id, "twice-sale:spring")
        payment = await pay(city, await fresh(city, wallet_id, amount_yen=1_000))
        taken.append(payment.discount is not None)
    assert taken == [True, True, False]


async def test_one_choice_pays_one_of_two_payments_at_once(city: City) -> None:
    await make_giving(city, "once-sale", coupons=[coupon(per_person=None)])
    wallet_id = await make_payer(city)
    await pick(city, wallet_id, "once-sale:spring")
    asked = [await fresh(city, wallet_id, amount_yen=1_000) for _ in range(2)]
    answers = await ask_together(city, asked)
    paid = [one.payment for one in answers if isinstance(one, Paid)]
    assert [one.discount is not None for one in paid] == [True, False]


async def test_the_first_hundred_are_no_more_than_that(city: City) -> None:
    await make_giving(city, "rush-sale", coupons=[coupon(first=2)])
    wallets = [await make_payer(city) for _ in range(4)]
    for wallet_id in wallets:
        await pick(city, wallet_id, "rush-sale:spring")
    asked = [await fresh(city, wallet_id, amount_yen=1_000) for wallet_id in wallets]
    answers = await ask_together(city, asked)
    taken = [one.payment.discount is not None for one in answers if isinstance(one, Paid)]
    assert sorted(taken) == [False, False, True, True]


async def test_a_coupon_pays_what_the_purses_could_not(city: City) -> None:
    await make_giving(city, "help-sale", coupons=[coupon()])
    wallet_id = await make_payer(city, yen=700)
    await pick(city, wallet_id, "help-sale:spring")
    await pay(city, await fresh(city, wallet_id, amount_yen=1_000))
    assert await purses_of(city.engine, wallet_id) == {"coin free": 0}


async def test_a_budget_that_cannot_pay_it_all_pays_nothing_of_a_coupon(city: City) -> None:
    await make_giving(city, "poor-sale", coupons=[coupon(per_person=None)], budget_yen=599)
    wallet_id = await make_payer(city)
    taken = []
    for _ in range(2):
        await pick(city, wallet_id, "poor-sale:spring")
        payment = await pay(city, await fresh(city, wallet_id, amount_yen=1_000))
        taken.append(payment.discount is not None)
    assert taken == [True, False]
    assert await budget_left(city, "poor-sale") == 299


async def test_one_budget_pays_coupon_and_bonus_and_no_more_than_it_has(city: City) -> None:
    await make_giving(
        city,
        "both",
        bonus(percent=100),
        coupons=[coupon()],
        budget_yen=10_000 + 400,
        last_day=date(2026, 12, 31),
    )
    wallet_id = await make_wallet(city.engine)
    await give(city.teller, wallet_id, "both", amount_yen=10_000)
    await pick(city, wallet_id, "both:spring")
    await pay(city, await fresh(city, wallet_id, amount_yen=1_000))
    assert await grants_of(city, wallet_id) == [("both/back", 100, "granted")]
    assert await budget_left(city, "both") == 0


async def test_a_coupon_that_is_gone_takes_nothing_off(city: City) -> None:
    wallet_id = await make_payer(city)
    await pick(city, wallet_id, "never:was")
    assert (await pay(city, await fresh(city, wallet_id))).discount is None


async def test_a_declined_payment_uses_no_coupon(city: City) -> None:
    await make_giving(city, "kept-sale", coupons=[coupon()])
    wallet_id = await make_payer(city, yen=100)
    await pick(city, wallet_id, "kept-sale:spring")
    refusal = await declined(city, await fresh(city, wallet_id, amount_yen=1_000))
    assert refusal.facts == {"available_yen": 100, "missing_yen": 600}
    assert await chosen(city, wallet_id) == "kept-sale:spring"
