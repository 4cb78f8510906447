"""A programme's caps: exactly as much of its money in one payment, and in a day, as it says."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import msgspec
import pytest
import pytest_asyncio

from tests.factories.city import City, make_city
from tests.factories.payments import ask_to_pay, by_code, declined, make_payer, pay
from tests.factories.programmes import free_draft, make_programme
from tests.factories.vouchers import give
from tests.servers import Database
from wallet.core.clock import TestClock
from wallet.core.refusals import Refusal
from wallet.payments.pay import Paid
from wallet.programmes.terms import Caps

pytestmark = pytest.mark.asyncio(loop_scope="module")

DAY_S = 86_400


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def city(module_database: Database) -> AsyncIterator[City]:
    """Yield a city with a capped programme beside its coin."""
    async with make_city(module_database.application_url) as city:
        for code, caps in (
            ("per-payment", Caps(payment_yen=300)),
            ("per-day", Caps(day_yen=500)),
        ):
            draft = msgspec.structs.replace(free_draft(code), caps=caps)
            await make_programme(city.teller, draft)
        yield city


async def payer(city: City, programme_code: str, yen: int) -> UUID:
    """Return a wallet with capped money and no other."""
    wallet_id = await make_payer(city, yen=1, payment_limit_yen=10**6, daily_limit_yen=10**6)
    await give(city.teller, wallet_id, programme_code, amount_yen=yen)
    return wallet_id


async def code_of(city: City, wallet_id: UUID) -> str:
    """Return a one-time code of a wallet."""
    (code,) = await city.codes(wallet_id=wallet_id)
    return code


async def test_one_payment_takes_its_cap_and_no_more(city: City) -> None:
    wallet_id = await payer(city, "per-payment", 1_000)
    refusal = await declined(city, by_code(city, await code_of(city, wallet_id), amount_yen=302))
    assert refusal == Refusal("limit_payment", {"limit_yen": 301})
    for _ in range(2):
        await pay(city, by_code(city, await code_of(city, wallet_id), amount_yen=300))


async def test_a_day_takes_its_cap_and_the_next_one_again(city: City) -> None:
    wallet_id = await payer(city, "per-day", 2_000)
    await pay(city, by_code(city, await code_of(city, wallet_id), amount_yen=400))
    refusal = await declined(city, by_code(city, await code_of(city, wallet_id), amount_yen=102))
    assert refusal == Refusal("limit_daily", {"limit_yen": 500, "left_yen": 101})
    await pay(city, by_code(city, await code_of(city, wallet_id), amount_yen=100))
    assert isinstance(city.clock, TestClock)
    city.clock.advance(seconds=DAY_S)
    try:
        await pay(city, by_code(city, await code_of(city, wallet_id), amount_yen=500))
    finally:
        city.clock.advance(seconds=-DAY_S)


async def test_many_payments_at_once_stay_within_the_day(city: City) -> None:
    wallet_id = await payer(city, "per-day", 2_000)
    codes = await city.codes(12, wallet_id=wallet_id)
    requests = [by_code(city, code, amount_yen=50) for code in codes]
    answers = await asyncio.gather(*(ask_to_pay(city, request) for request in requests))
    states = [one.payment.state for one in answers if isinstance(one, Paid)]
    assert states.count("succeeded") == 10


async def test_other_money_covers_what_a_cap_leaves(city: City) -> None:
    wallet_id = await payer(city, "per-payment", 1_000)
    await give(city.teller, wallet_id, amount_yen=700)
    payment = await pay(city, by_code(city, await code_of(city, wallet_id), amount_yen=1_000))
    drawn = {part.programme: part.amount_yen for part in payment.parts}
    assert drawn["per-payment"] <= 300
    assert sum(drawn.values()) == 1_000
