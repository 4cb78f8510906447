"""Reading payments below the doors: bounded, and of one merchant only."""

import pytest

from tests.factories.city import City
from tests.factories.merchants import make_merchant
from tests.factories.moments import NOW_US
from tests.factories.payments import ask_to_pay, fresh, make_payer, pay
from wallet.payments.pay import Paid
from wallet.payments.queries import (
    PAGE_MAX,
    find_by_merchant_payment_id,
    find_payment,
    list_payments,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_payment_is_read_back_as_it_was_decided(city: City) -> None:
    wallet_id = await make_payer(city, yen=1_500)
    for _ in range(2):  # The first is paid, the second declined.
        answer = await ask_to_pay(city, await fresh(city, wallet_id))
        assert isinstance(answer, Paid)
        payment = answer.payment
        found = await find_payment(
            city.engine, merchant_id=city.merchant.id, payment_id=payment.id, now_us=NOW_US
        )
        assert found == payment
        found = await find_by_merchant_payment_id(
            city.engine,
            merchant_id=city.merchant.id,
            merchant_payment_id=payment.merchant_payment_id,
            now_us=NOW_US,
        )
        assert found == payment


@pytest.mark.attack(25)
async def test_somebody_elses_payment_is_not_found(city: City) -> None:
    payment = await pay(city, await fresh(city, await make_payer(city)))
    other = await make_merchant(city.engine, city.teller)
    assert (
        await find_payment(city.engine, merchant_id=other.id, payment_id=payment.id, now_us=NOW_US)
        is None
    )
    found = await find_by_merchant_payment_id(
        city.engine,
        merchant_id=other.id,
        merchant_payment_id=payment.merchant_payment_id,
        now_us=NOW_US,
    )
    assert found is None
    assert await list_payments(city.engine, merchant_id=other.id, before=None, limit=1) == []


@pytest.mark.parametrize("limit", [-1, 0, PAGE_MAX + 2])
async def test_a_page_is_bounded(city: City, limit: int) -> None:
    with pytest.raises(ValueError, match="a page has 1 to 100 payments"):
        await list_payments(city.engine, merchant_id=city.merchant.id, before=None, limit=limit)
