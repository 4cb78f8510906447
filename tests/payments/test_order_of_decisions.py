"""When several things are wrong, the first in the fixed order is told."""

from typing import Any

import pytest

from tests.factories.city import City
from tests.factories.merchants import Merchant, make_merchant
from tests.factories.payments import (
    again,
    ask_to_pay,
    by_card,
    change,
    declined,
    engage,
    fresh,
    make_payer,
    pay,
    refused,
    release,
)
from tests.factories.people import make_card
from wallet.core.refusals import Refusal
from wallet.payments.pay import Paid, Refused
from wallet.payments.rules import PayRequest

pytestmark = pytest.mark.asyncio(loop_scope="module")

SUSPEND = "UPDATE merchant SET state = 'suspended' WHERE id = :id"
ADMIT = "UPDATE merchant SET state = 'active' WHERE id = :id"
SET_WALLET = "UPDATE wallet SET state = :state WHERE id = :id"
SET_CARD = "UPDATE card SET state = :state WHERE id = :id"
SET_LIMITS = """
UPDATE wallet SET payment_limit_yen = :payment_yen, daily_limit_yen = :daily_yen WHERE id = :id
"""


def at(merchant: Merchant, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - of many types
    """Return the fields of a request that another merchant makes."""
    return {"merchant_id": merchant.id, "terminal_id": merchant.terminal_id, **changes}


async def test_each_thing_that_is_wrong_is_told_in_its_turn(city: City) -> None:
    merchant = await make_merchant(city.engine, city.teller)
    wallet_id = await make_payer(city, yen=800, payment_limit_yen=1_000, daily_limit_yen=900)
    card = await make_card(city.engine, wallet_id)
    await change(city, SET_WALLET, state="frozen", id=wallet_id)
    await change(city, SET_CARD, state="blocked", id=card.id)
    await change(city, SUSPEND, id=merchant.id)
    await engage(city, "pay")

    def request(**changes: Any) -> PayRequest:  # noqa: ANN401 - of many types
        return by_card(city, card.qr_value, **at(merchant, amount_yen=1_001, **changes))

    foreign = request(terminal_id=city.merchant.terminal_id)
    assert await refused(city, foreign) == Refusal("service_stopped")
    await release(city, "pay")
    assert await refused(city, foreign) == Refusal("terminal_unknown")
    assert await refused(city, request()) == Refusal("merchant_suspended")
    await change(city, ADMIT, id=merchant.id)
    assert await declined(city, request()) == Refusal("card_blocked")
    await change(city, SET_CARD, state="active", id=card.id)
    assert await declined(city, request()) == Refusal("wallet_frozen")
    await change(city, SET_WALLET, state="active", id=wallet_id)
    assert await declined(city, request()) == Refusal("limit_payment", {"limit_yen": 1_000})
    await change(city, SET_LIMITS, payment_yen=2_000, daily_yen=900, id=wallet_id)
    assert (await declined(city, request())).code == "limit_daily"
    await change(city, SET_LIMITS, payment_yen=2_000, daily_yen=9_000, id=wallet_id)
    assert (await declined(city, request())).code == "balance_insufficient"


async def test_a_repeat_of_a_success_succeeds_whatever_is_wrong_by_now(city: City) -> None:
    merchant = await make_merchant(city.engine, city.teller)
    wallet_id = await make_payer(city, yen=1_000)
    request = await fresh(city, wallet_id, **at(merchant))
    payment = await pay(city, request)
    await change(city, SET_WALLET, state="frozen", id=wallet_id)
    await change(city, SUSPEND, id=merchant.id)
    await change(
        city, "UPDATE terminal SET state = 'retired' WHERE id = :id", id=merchant.terminal_id
    )
    await engage(city, "all")
    try:
        assert await ask_to_pay(city, again(city, request)) == Paid(payment, replayed=True)
        other = again(city, request, amount_yen=1)
        assert (await refused(city, other)).code == "idempotency_conflict"
        other = again(city, other, idempotency_key="new", merchant_payment_id="new")
        assert await refused(city, other) == Refusal("service_stopped")
    finally:
        await release(city, "all")


@pytest.mark.attack(25)
@pytest.mark.asvs("v5.0.0-8.2.2")
async def test_a_terminal_of_another_merchant_is_as_unknown_as_none(city: City) -> None:
    other = await make_merchant(city.engine, city.teller)
    wallet_id = await make_payer(city)
    foreign = await fresh(city, wallet_id, terminal_id=other.terminal_id)
    absent = await fresh(city, wallet_id, terminal_id=other.shop_id)
    answers = [await ask_to_pay(city, one) for one in (foreign, absent)]
    assert answers == [Refused(Refusal("terminal_unknown"))] * 2


async def test_a_terminal_that_is_retired_takes_nothing(city: City) -> None:
    merchant = await make_merchant(city.engine, city.teller)
    await change(
        city, "UPDATE terminal SET state = 'retired' WHERE id = :id", id=merchant.terminal_id
    )
    request = await fresh(city, await make_payer(city), **at(merchant))
    assert await refused(city, request) == Refusal("terminal_unknown")


async def test_a_suspended_merchant_is_refused_until_it_is_admitted_again(city: City) -> None:
    merchant = await make_merchant(city.engine, city.teller)
    request = await fresh(city, await make_payer(city), **at(merchant))
    await change(city, SUSPEND, id=merchant.id)
    assert await refused(city, request) == Refusal("merchant_suspended")
    await change(city, ADMIT, id=merchant.id)
    await pay(city, request)


@pytest.mark.parametrize("scope", ["all", "pay", "merchant", "programme"])
async def test_a_stop_in_its_scope_refuses_and_keeps_nothing(city: City, scope: str) -> None:
    named = {"merchant": f"merchant:{city.merchant.id.hex}", "programme": "programme:coin"}
    request = await fresh(city, await make_payer(city))
    await engage(city, named.get(scope, scope))
    try:
        assert (await refused(city, request)).code == "service_stopped"
    finally:
        await release(city, named.get(scope, scope))
    # The very same request goes through once money flows again.
    await pay(city, request)


@pytest.mark.parametrize("scope", ["issue", "programme:other", f"merchant:{'0' * 32}"])
async def test_a_stop_of_something_else_stops_no_payment(city: City, scope: str) -> None:
    request = await fresh(city, await make_payer(city))
    await engage(city, scope)
    try:
        await pay(city, request)
    finally:
        await release(city, scope)
