"""What a payment had brought goes back with its refund, as far as it is there; coupons as well."""

import asyncio
from datetime import timedelta
from uuid import UUID

from tests.factories.bonuses import bonus, budget_left, coupon, grants_of, make_giving, pick
from tests.factories.city import City, make_city
from tests.factories.days import check_proof, go_to, rows_of
from tests.factories.payments import fresh, make_payer, pay
from tests.factories.refunds import make_refund, refund
from tests.factories.vouchers import give, purses_of
from tests.servers import Database
from wallet.core.clock import japanese_day
from wallet.payments.give_due import run_due as vest_due
from wallet.payments.refund import Refunded, refund_payment

BUDGET_YEN = 1_000_000


async def payer_of(city: City, programme: str, *, yen: int = 2_000) -> UUID:
    """Return a wallet with money of a programme."""
    wallet_id = await make_payer(city, yen=0)
    await give(city.teller, wallet_id, programme, amount_yen=yen)
    return wallet_id


async def totals_of(city: City, wallet_id: UUID) -> list[tuple[int, int]]:
    """Return what is counted of a wallet's bonuses and coupons: yen, and how often."""
    return [
        (row[0], row[1])
        for row in await rows_of(
            city,
            "SELECT amount_yen, uses FROM bonus_total WHERE holder_id = :id ORDER BY rule, period",
            id=wallet_id,
        )
    ]


async def test_a_bonus_goes_back_in_proportion_and_counts_no_more(database: Database) -> None:
    async with make_city(database.application_url) as city:
        await make_giving(city, "giving", bonus(month_cap_yen=500))
        payer = await payer_of(city, "giving")
        payment = await pay(city, await fresh(city, payer, amount_yen=1_000))
        assert await purses_of(city.engine, payer) == {"giving free": 1_100}
        assert await totals_of(city, payer) == [(100, 1)]
        part = await refund(city, payment.id, amount_yen=250)
        assert (part.bonus_taken_yen, part.bonus_missing_yen) == (25, 0)
        assert await totals_of(city, payer) == [(75, 1)]
        rest = await refund(city, payment.id)
        assert (rest.amount_yen, rest.bonus_taken_yen, rest.bonus_missing_yen) == (750, 75, 0)
        assert await purses_of(city.engine, payer) == {"giving free": 2_000}
        assert await budget_left(city, "giving") == BUDGET_YEN - 2_000
        assert await grants_of(city, payer) == [("giving/back", 100, "reversed")]
        assert await totals_of(city, payer) == [(0, 0)]
        await check_proof(city)


async def test_a_bonus_that_was_spent_is_missing_and_noted(database: Database) -> None:
    async with make_city(database.application_url) as city:
        await make_giving(city, "points")
        await make_giving(city, "giving", bonus(target="points"))
        payer = await payer_of(city, "giving", yen=1_000)
        payment = await pay(city, await fresh(city, payer, amount_yen=1_000))
        await pay(city, await fresh(city, payer, amount_yen=70))
        given = await refund(city, payment.id)
        assert (given.bonus_taken_yen, given.bonus_missing_yen) == (30, 70)
        assert await purses_of(city.engine, payer) == {"giving free": 1_000, "points free": 0}
        assert await grants_of(city, payer) == [("giving/back", 100, "granted")]
        await check_proof(city)


async def test_a_bonus_that_is_set_aside_goes_back_from_there(database: Database) -> None:
    async with make_city(database.application_url) as city:
        await make_giving(city, "giving", bonus(vests_after_days=7))
        payer = await payer_of(city, "giving")
        payment = await pay(city, await fresh(city, payer, amount_yen=1_000))
        part = await refund(city, payment.id, amount_yen=600)
        assert (part.bonus_taken_yen, part.bonus_missing_yen) == (60, 0)
        await check_proof(city)
        go_to(city, japanese_day(city.clock()) + timedelta(days=7))
        await vest_due(city.engine, city.database_url, city.clock)
        assert await purses_of(city.engine, payer) == {"giving free": 1_640}
        rest = await refund(city, payment.id)
        assert (rest.bonus_taken_yen, rest.bonus_missing_yen) == (40, 0)
        assert await budget_left(city, "giving") == BUDGET_YEN - 2_000
        await check_proof(city)


async def test_what_a_coupon_took_off_goes_back_last_and_it_may_be_used_again(
    database: Database,
) -> None:
    async with make_city(database.application_url) as city:
        await make_giving(city, "giving", coupons=[coupon(per_person=1)])
        payer = await payer_of(city, "giving")
        await pick(city, payer, "giving:spring")
        payment = await pay(city, await fresh(city, payer, amount_yen=1_000))
        assert await purses_of(city.engine, payer) == {"giving free": 1_300}
        part = await refund(city, payment.id, amount_yen=800)
        assert [(one.funding, one.amount_yen, one.target) for one in part.parts] == [
            ("free", 700, "purse"),
            (None, 100, "budget"),
        ]
        assert await totals_of(city, payer) == [(200, 1)]
        await refund(city, payment.id)
        assert await totals_of(city, payer) == [(0, 0)]
        assert await purses_of(city.engine, payer) == {"giving free": 2_000}
        assert await budget_left(city, "giving") == BUDGET_YEN - 2_000
        await check_proof(city)
        await pick(city, payer, "giving:spring")
        again = await pay(city, await fresh(city, payer, amount_yen=1_000))
        assert again.discount is not None


async def test_a_refund_is_told_again_with_all_of_its_parts(database: Database) -> None:
    async with make_city(database.application_url) as city:
        await make_giving(city, "giving", bonus(), coupons=[coupon()])
        payer = await payer_of(city, "giving")
        await pick(city, payer, "giving:spring")
        payment = await pay(city, await fresh(city, payer, amount_yen=1_000))
        first = await refund(city, payment.id, merchant_refund_id="r-1")
        repeated = make_refund(city, payment.id, merchant_refund_id="r-1")
        answer = await refund_payment(city.teller, repeated)
        assert isinstance(answer, Refunded)
        assert answer.replayed
        assert answer.refund == first


async def test_refunds_and_payments_side_by_side_keep_bonuses_exact(database: Database) -> None:
    async with make_city(database.application_url, lanes=3) as city:
        await make_giving(city, "giving", bonus(month_cap_yen=1_000_000))
        payer = await payer_of(city, "giving", yen=20_000)
        payments = [await pay(city, await fresh(city, payer, amount_yen=500)) for _ in range(6)]
        requests = [await fresh(city, payer, amount_yen=300) for _ in range(6)]
        await asyncio.gather(
            *(refund(city, one.id) for one in payments), *(pay(city, one) for one in requests)
        )
        assert await purses_of(city.engine, payer) == {"giving free": 20_000 - 6 * 300 + 6 * 30}
        assert await totals_of(city, payer) == [(180, 6)]
        assert await budget_left(city, "giving") == BUDGET_YEN - 20_000 - 180
        await check_proof(city)
