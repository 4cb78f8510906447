"""Refunds: back to the very purses, last drawn first, never more than was paid, once."""

import asyncio
from datetime import date, timedelta
from typing import Any
from uuid import UUID

from tests.factories.city import City, make_city
from tests.factories.days import check_proof, events_of, expire, go_to, rows_of
from tests.factories.payments import (
    ask_to_pay,
    by_card,
    declined,
    engage,
    fresh,
    make_payer,
    pay,
    release,
)
from tests.factories.programmes import frame, make_programme, spending
from tests.factories.refunds import make_refund, refund, refund_refused
from tests.factories.vouchers import give, purses_of
from tests.servers import Database
from wallet.core.database import write
from wallet.core.ids import new_id
from wallet.payments.refund import Refunded, RefundRefused, refund_payment
from wallet.payments.rules import Payment
from wallet.programmes.extend import Extension, decide_extension, extend_due
from wallet.programmes.terms import ProgrammeDraft, Refunds

LAST_DAY = date(2027, 3, 31)
DAY_AFTER = LAST_DAY + timedelta(days=1)


async def buy(city: City, *, amount_yen: int, **terms: Any) -> tuple[UUID, Payment]:  # noqa: ANN401 - fields of many types
    """Have somebody with one set of a voucher pay with it; return their wallet and the payment."""
    draft = ProgrammeDraft(
        code="voucher", name="商品券", spending=spending(), frame=frame(), **terms
    )
    await make_programme(city.teller, draft)
    holder = await make_payer(city, yen=0)
    await give(city.teller, holder, "voucher", sets=1)
    return holder, await pay(city, await fresh(city, holder, amount_yen=amount_yen))


async def test_a_whole_refund_gives_back_to_the_very_purses(database: Database) -> None:
    async with make_city(database.application_url) as city:
        holder, payment = await buy(city, amount_yen=5_600)
        assert await purses_of(city.engine, holder) == {"voucher paid": 0, "voucher premium": 650}
        given = await refund(city, payment.id, reason="a wrong size")
        assert [(part.funding, part.amount_yen, part.target) for part in given.parts] == [
            ("premium", 600, "purse"),
            ("paid", 5_000, "purse"),
        ]
        assert await purses_of(city.engine, holder) == {
            "voucher paid": 5_000,
            "voucher premium": 1_250,
        }
        assert await events_of(city, "payment.refunded") == [
            {
                "refund_id": str(given.id),
                "payment_id": str(payment.id),
                "merchant_id": str(city.merchant.id),
                "merchant_refund_id": given.merchant_refund_id,
                "amount_yen": 5_600,
            }
        ]
        assert (await refund_refused(city, payment.id)).code == "payment_refunded"
        await check_proof(city)


async def test_what_was_drawn_last_comes_back_first(database: Database) -> None:
    async with make_city(database.application_url) as city:
        holder, payment = await buy(city, amount_yen=5_600)
        await refund(city, payment.id, amount_yen=500)
        assert await purses_of(city.engine, holder) == {
            "voucher paid": 0,
            "voucher premium": 1_150,
        }
        await refund(city, payment.id, amount_yen=300)
        assert await purses_of(city.engine, holder) == {
            "voucher paid": 200,
            "voucher premium": 1_250,
        }
        refusal = await refund_refused(city, payment.id, amount_yen=4_801)
        assert (refusal.code, refusal.facts) == ("refund_exceeds_payment", {"left_yen": 4_800})
        assert (await refund(city, payment.id)).amount_yen == 4_800
        await check_proof(city)


async def test_a_refund_asked_for_twice_is_given_once(database: Database) -> None:
    async with make_city(database.application_url) as city:
        payment = await pay(city, by_card(city, city.card.qr_value))
        request = make_refund(city, payment.id, amount_yen=400, merchant_refund_id="r-1")
        first = await refund_payment(city.teller, request)
        again = make_refund(city, payment.id, amount_yen=400, merchant_refund_id="r-1")
        second = await refund_payment(city.teller, again)
        assert isinstance(first, Refunded)
        assert isinstance(second, Refunded)
        assert (first.replayed, second.replayed) == (False, True)
        assert first.refund == second.refund
        refusal = await refund_refused(city, payment.id, amount_yen=401, merchant_refund_id="r-1")
        assert (refusal.code, refusal.facts) == (
            "idempotency_conflict",
            {"refund_id": first.refund.id},
        )
        assert await purses_of(city.engine, city.wallet_id) == {"coin free": 9_400}


async def test_refunds_asked_for_at_once_give_back_no_more_than_was_paid(
    database: Database,
) -> None:
    async with make_city(database.application_url, lanes=4) as city:
        payment = await pay(city, by_card(city, city.card.qr_value, amount_yen=1_000))
        requests = [make_refund(city, payment.id, amount_yen=150) for _ in range(20)]
        answers = await asyncio.gather(*(refund_payment(city.teller, one) for one in requests))
        given = [one for one in answers if isinstance(one, Refunded)]
        assert len(given) == 6
        refusals = {one.refusal.code for one in answers if isinstance(one, RefundRefused)}
        assert refusals == {"refund_exceeds_payment"}
        assert await purses_of(city.engine, city.wallet_id) == {"coin free": 9_900}
        await check_proof(city)


async def test_one_name_used_for_two_payments_at_once_is_taken_by_one(database: Database) -> None:
    async with make_city(database.application_url, lanes=4) as city:
        payers = [await make_payer(city) for _ in range(8)]
        payments = [await pay(city, await fresh(city, one)) for one in payers]
        answers = await asyncio.gather(
            *(
                refund_payment(city.teller, make_refund(city, one.id, merchant_refund_id="same"))
                for one in payments
            )
        )
        assert len([one for one in answers if isinstance(one, Refunded)]) == 1
        await check_proof(city)


async def test_the_day_s_limit_stays_used_up(database: Database) -> None:
    async with make_city(database.application_url) as city:
        payer = await make_payer(city, daily_limit_yen=1_500)
        payment = await pay(city, await fresh(city, payer))
        await refund(city, payment.id)
        refusal = await declined(city, await fresh(city, payer))
        assert (refusal.code, refusal.facts["left_yen"]) == ("limit_daily", 500)


async def test_what_is_no_payment_of_the_merchant_is_not_given_back(database: Database) -> None:
    async with make_city(database.application_url) as city:
        payment = await pay(city, by_card(city, city.card.qr_value))
        stranger = new_id(now_us=city.clock())
        refusal = await refund_refused(city, payment.id, merchant_id=stranger)
        assert refusal.code == "payment_unknown"
        assert (await refund_refused(city, stranger)).code == "payment_unknown"
        poor = by_card(city, city.card.qr_value, amount_yen=3_001)
        await ask_to_pay(city, poor)
        refusal = await refund_refused(city, poor.payment_id)
        assert refusal.code == "payment_not_refundable"


async def test_a_stopped_programme_gives_nothing_back_until_it_goes_on(database: Database) -> None:
    async with make_city(database.application_url) as city:
        payment = await pay(city, by_card(city, city.card.qr_value))
        for scope in ("all", "programme:coin", f"merchant:{city.merchant.id.hex}"):
            await engage(city, scope)
            assert (await refund_refused(city, payment.id)).code == "service_stopped"
            await release(city, scope)
        await engage(city, "pay")
        await refund(city, payment.id)


async def test_money_whose_day_is_over_goes_to_the_budget(database: Database) -> None:
    async with make_city(database.application_url) as city:
        holder, payment = await buy(city, amount_yen=5_600)
        go_to(city, LAST_DAY, hour=23, minute=59)
        await refund(city, payment.id, amount_yen=100)
        go_to(city, DAY_AFTER)
        for _ in range(2):  # Before the worker has emptied the purses, and after it.
            given = await refund(city, payment.id, amount_yen=700)
            assert {part.target for part in given.parts} == {"budget"}
            await expire(city)
            await check_proof(city)
        assert set((await purses_of(city.engine, holder)).values()) == {0}


async def test_refunds_while_money_expires_leave_nothing_in_purses_that_have_ended(
    database: Database,
) -> None:
    async with make_city(database.application_url, lanes=3) as city:
        payers = [await make_payer(city) for _ in range(12)]
        payments = [await pay(city, await fresh(city, payer)) for payer in payers]
        go_to(city, DAY_AFTER)
        ended, *_ = await asyncio.gather(expire(city), *(refund(city, one.id) for one in payments))
        assert ended == 13
        for payer in payers:
            assert await purses_of(city.engine, payer) == {"coin free": 0}
        await check_proof(city)


async def test_money_whose_day_is_over_is_good_for_some_days_where_the_programme_says_so(
    database: Database,
) -> None:
    async with make_city(database.application_url) as city:
        terms = Refunds(to_expired="extend_days", extend_days=14)
        holder, payment = await buy(city, amount_yen=5_600, refunds=terms)
        go_to(city, DAY_AFTER)
        await expire(city)
        await refund(city, payment.id, amount_yen=5_000)
        await refund(city, payment.id, amount_yen=600)
        later = DAY_AFTER + timedelta(days=14)
        purses = await rows_of(
            city,
            "SELECT p.funding, b.credits_posted - b.debits_posted FROM purse AS p"
            " JOIN balance AS b USING (account_id) WHERE wallet_id = :id AND expires_on = :later"
            " ORDER BY 1",
            id=holder,
            later=later,
        )
        assert purses == [("paid", 5_000), ("premium", 600)]
        go_to(city, later)
        assert await expire(city) == 0
        await pay(city, await fresh(city, holder, amount_yen=5_600))
        await check_proof(city)


async def test_a_programme_may_refuse_what_comes_back_too_late(database: Database) -> None:
    async with make_city(database.application_url) as city:
        _, payment = await buy(city, amount_yen=5_600, refunds=Refunds(to_expired="refuse"))
        go_to(city, LAST_DAY)
        await refund(city, payment.id, amount_yen=100)
        go_to(city, DAY_AFTER)
        refusal = await refund_refused(city, payment.id, amount_yen=100)
        assert (refusal.code, refusal.facts) == (
            "refund_purse_expired",
            {"expired_on": LAST_DAY},
        )


async def test_a_refund_follows_money_that_an_extension_has_moved(database: Database) -> None:
    """The holder had a purse of the later day already, so theirs was emptied into it."""
    later = LAST_DAY + timedelta(days=60)
    extension = Extension(programme="coin", from_day=LAST_DAY, to_day=later)
    async with make_city(database.application_url) as city:

        async def extend() -> int:
            await write(
                city.engine,
                lambda connection: decide_extension(
                    connection, extension=extension, reason="a test", now_us=city.clock()
                ),
            )
            return await extend_due(city.engine, database_url=city.database_url, clock=city.clock)

        holder = await make_payer(city, yen=300)
        assert await extend() > 0
        await give(city.teller, holder, amount_yen=500)
        payment = await pay(city, await fresh(city, holder, amount_yen=400))
        assert await extend() > 0
        await give(city.teller, holder, amount_yen=50)
        unmoved = await pay(city, await fresh(city, holder, amount_yen=20))
        go_to(city, DAY_AFTER)
        (part,) = (await refund(city, payment.id)).parts
        assert (part.amount_yen, part.target) == (400, "purse")
        (part,) = (await refund(city, unmoved.id)).parts
        assert (part.amount_yen, part.target) == (20, "budget")
        assert (await purses_of(city.engine, holder))["coin free"] >= 800
        await check_proof(city)


async def test_a_name_used_for_a_part_does_not_answer_for_all_that_is_left(
    database: Database,
) -> None:
    async with make_city(database.application_url) as city:
        _, payment = await buy(city, amount_yen=900)
        await refund(city, payment.id, merchant_refund_id="part", amount_yen=100)
        asked_for_all = await refund_refused(city, payment.id, merchant_refund_id="part")
        assert asked_for_all.code == "idempotency_conflict"
        rest = await refund(city, payment.id, merchant_refund_id="rest")
        assert rest.amount_yen == 800
        assert await refund(city, payment.id, merchant_refund_id="rest") == rest
