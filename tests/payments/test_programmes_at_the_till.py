"""Where and when a programme's money pays, seen from the till."""

from datetime import date
from uuid import UUID

import pytest

from tests.factories.city import City, make_city
from tests.factories.merchants import Merchant, make_merchant
from tests.factories.moments import NOW_US, japanese
from tests.factories.payments import ask_to_pay, change, declined, fresh, make_payer, pay
from tests.factories.programmes import free_draft, make_programme
from tests.factories.vouchers import give
from tests.servers import Database
from wallet.core.clock import TestClock
from wallet.core.refusals import Refusal
from wallet.payments.pay import Paid
from wallet.payments.rules import PayRequest

ONLY_BOOKS = """
UPDATE programme SET version = version + 1,
                     terms = jsonb_set(terms, '{spending,categories}', '["books"]')
WHERE code = 'changing'
"""

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def holder_of(city: City, programme: str, *, yen: int = 1_000) -> UUID:
    """Return a wallet that holds ``yen`` of one programme and nothing else."""
    wallet_id = await make_payer(city, yen=0)
    await give(city.teller, wallet_id, programme, amount_yen=yen)
    return wallet_id


async def at(city: City, merchant: Merchant, wallet_id: UUID) -> PayRequest:
    """Return a request of a merchant for 1,000 yen."""
    return await fresh(city, wallet_id, merchant_id=merchant.id, terminal_id=merchant.terminal_id)


async def test_money_for_small_shops_pays_only_there(city: City) -> None:
    await make_programme(city.teller, free_draft("small", shops="small"))
    wallet_id = await holder_of(city, "small")
    large = await make_merchant(city.engine, city.teller, small=False)
    refusal = await declined(city, await at(city, large, wallet_id))
    assert refusal == Refusal("merchant_not_eligible", {"available_yen": 0})
    await pay(city, await at(city, city.merchant, wallet_id))


async def test_money_for_some_categories_pays_only_there(city: City) -> None:
    books = free_draft("books", categories=frozenset({"books", "childcare"}))
    await make_programme(city.teller, books)
    wallet_id = await holder_of(city, "books")
    refusal = await declined(city, await at(city, city.merchant, wallet_id))
    assert refusal == Refusal("merchant_not_eligible", {"available_yen": 0})
    bookshop = await make_merchant(city.engine, city.teller, category="books")
    await pay(city, await at(city, bookshop, wallet_id))


async def test_money_that_excludes_a_category_pays_everywhere_else(city: City) -> None:
    sober = free_draft("sober", excluded_categories=frozenset({"liquor"}))
    await make_programme(city.teller, sober)
    wallet_id = await holder_of(city, "sober")
    brewer = await make_merchant(city.engine, city.teller, category="liquor")
    refusal = await declined(city, await at(city, brewer, wallet_id))
    assert refusal == Refusal("merchant_not_eligible", {"available_yen": 0})
    await pay(city, await at(city, city.merchant, wallet_id))


async def test_money_for_named_shops_pays_no_neighbour(city: City) -> None:
    named = await make_merchant(city.engine, city.teller)
    await make_programme(city.teller, free_draft("named", shop_ids=frozenset({named.shop_id})))
    wallet_id = await holder_of(city, "named")
    refusal = await declined(city, await at(city, city.merchant, wallet_id))
    assert refusal == Refusal("merchant_not_eligible", {"available_yen": 0})
    await pay(city, await at(city, named, wallet_id))


async def test_money_that_is_not_for_this_shop_is_left_where_it_is(city: City) -> None:
    await make_programme(city.teller, free_draft("elsewhere", categories=frozenset({"fuel"})))
    wallet_id = await make_payer(city, yen=400)
    await give(city.teller, wallet_id, "elsewhere", amount_yen=600)
    refusal = await declined(city, await at(city, city.merchant, wallet_id))
    assert refusal == Refusal("merchant_not_eligible", {"available_yen": 400})
    payment = await pay(city, await fresh(city, wallet_id, amount_yen=400))
    assert [part.programme for part in payment.parts] == ["coin"]


DECEMBER = free_draft("december", first_day=date(2026, 12, 1), last_day=date(2026, 12, 31))
TOO_EARLY = Refusal("outside_period", {"available_yen": 0})
EXPIRED = Refusal("balance_insufficient", {"available_yen": 0, "missing_yen": 1_000})


async def test_money_is_good_from_the_first_second_to_the_last(module_database: Database) -> None:
    clock = TestClock(NOW_US)
    async with make_city(module_database.application_url, clock=clock) as city:
        await make_programme(city.teller, DECEMBER)
        wallet_id = await holder_of(city, "december", yen=5_000)
        outcomes = {}
        for moment in (
            "2026-11-30T23:59:59",
            "2026-12-01T00:00:00",
            "2026-12-31T23:59:59",
            "2027-01-01T00:00:00",
        ):
            clock.now_us = japanese(moment)
            answer = await ask_to_pay(city, await fresh(city, wallet_id))
            assert isinstance(answer, Paid)
            outcomes[moment] = answer.payment.refusal
        assert list(outcomes.values()) == [TOO_EARLY, None, None, EXPIRED]


async def test_new_terms_of_a_programme_hold_from_the_next_payment_on(city: City) -> None:
    await make_programme(city.teller, free_draft("changing"))
    wallet_id = await holder_of(city, "changing", yen=3_000)
    await pay(city, await fresh(city, wallet_id))
    await change(city, ONLY_BOOKS)
    refusal = await declined(city, await fresh(city, wallet_id))
    assert refusal == Refusal("merchant_not_eligible", {"available_yen": 0})
