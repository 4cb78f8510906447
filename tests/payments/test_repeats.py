"""The same request again: by its key, by the merchant's own id, in one batch and later."""

import pytest
from sqlalchemy import text

from tests.factories.city import City
from tests.factories.merchants import make_merchant
from tests.factories.payments import (
    again,
    ask_to_pay,
    ask_together,
    by_card,
    change,
    declined,
    fresh,
    make_payer,
    pay,
    refused,
    traces,
)
from tests.factories.people import make_card
from tests.factories.vouchers import give, purses_of
from wallet.core.database import read
from wallet.core.refusals import Refusal
from wallet.payments.pay import Paid, Refused

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEYS = text("SELECT key FROM idempotency_key WHERE payment_id = :payment_id ORDER BY key")


async def keys_of(city: City, payment_id: object) -> list[str]:
    """Return the keys that have led to a payment."""
    async with read(city.engine) as connection:
        return list((await connection.execute(KEYS, {"payment_id": payment_id})).scalars())


@pytest.mark.attack(19)
async def test_a_repeat_gets_the_first_answer_and_moves_nothing(city: City) -> None:
    wallet_id = await make_payer(city)
    request = await fresh(city, wallet_id)
    payment = await pay(city, request)
    before = await traces(city, wallet_id)
    assert await ask_to_pay(city, again(city, request)) == Paid(payment, replayed=True)
    assert await traces(city, wallet_id) == before


async def test_a_repeat_of_a_declined_payment_is_declined_for_the_same_reason(city: City) -> None:
    wallet_id = await make_payer(city, yen=800)
    request = await fresh(city, wallet_id)
    first = await ask_to_pay(city, request)
    assert isinstance(first, Paid)
    # Money that comes afterwards changes nothing about what was decided.
    await give(city.teller, wallet_id, amount_yen=5_000)
    assert await ask_to_pay(city, again(city, request)) == Paid(first.payment, replayed=True)
    assert first.payment.refusal == Refusal(
        "balance_insufficient", {"available_yen": 800, "missing_yen": 200}
    )


async def test_a_stop_that_is_over_is_not_remembered(city: City) -> None:
    request = await fresh(city, await make_payer(city), terminal_id=city.merchant.shop_id)
    assert await refused(city, request) == Refusal("terminal_unknown")
    # The key is free again, for another request too.
    await pay(city, again(city, request, terminal_id=city.merchant.terminal_id, amount_yen=7))


@pytest.mark.attack(20)
async def test_a_key_that_is_used_for_something_else_names_what_is_different(city: City) -> None:
    wallet_id = await make_payer(city)
    request = await fresh(city, wallet_id)
    payment = await pay(city, request)
    before = await traces(city, wallet_id)
    other = again(city, request, amount_yen=1_001, description="果物")
    assert await refused(city, other) == Refusal(
        "idempotency_conflict",
        {"different": ["/amount/amount", "/order_description"], "payment_id": payment.id},
    )
    assert await traces(city, wallet_id) == before


async def test_the_merchants_id_under_a_new_key_leads_to_the_payment_there_is(city: City) -> None:
    wallet_id = await make_payer(city)
    request = await fresh(city, wallet_id)
    payment = await pay(city, request)
    other = again(city, request, idempotency_key=f"second {payment.id}")
    assert await ask_to_pay(city, other) == Paid(payment, replayed=True)
    assert await keys_of(city, payment.id) == sorted(
        [request.idempotency_key, other.idempotency_key]
    )
    # From now on the second key is that payment's too.
    changed = again(city, other, merchant_payment_id="another receipt")
    refusal = await refused(city, changed)
    assert refusal.facts == {"different": ["/merchant_payment_id"], "payment_id": payment.id}


async def test_the_merchants_id_with_other_content_is_a_conflict(city: City) -> None:
    wallet_id = await make_payer(city)
    request = await fresh(city, wallet_id)
    payment = await pay(city, request)
    later = await fresh(city, wallet_id, merchant_payment_id=request.merchant_payment_id)
    refusal = await refused(city, later)
    assert refusal.code == "idempotency_conflict"
    assert refusal.facts == {"different": ["/instrument/value"], "payment_id": payment.id}
    # Nothing was kept of it, so its code and its key are still good.
    await pay(city, again(city, later, merchant_payment_id=f"receipt {later.payment_id}"))


@pytest.mark.asvs("v5.0.0-8.4.1")
async def test_two_merchants_may_use_the_same_key_and_the_same_id(city: City) -> None:
    other = await make_merchant(city.engine, city.teller)
    card = await make_card(city.engine, await make_payer(city))
    mine = by_card(city, card.qr_value)
    theirs = again(city, mine, merchant_id=other.id, terminal_id=other.terminal_id)
    answers = await ask_together(city, [mine, theirs])
    assert [one.replayed for one in answers if isinstance(one, Paid)] == [False, False]


async def test_the_same_request_twice_in_one_batch_is_one_payment(city: City) -> None:
    wallet_id = await make_payer(city)
    request = await fresh(city, wallet_id)
    answers = await ask_together(city, [request, again(city, request), again(city, request)])
    payments = [one.payment for one in answers if isinstance(one, Paid)]
    assert [one.replayed for one in answers if isinstance(one, Paid)] == [False, True, True]
    assert payments == [payments[0]] * 3
    assert payments[0].id == request.payment_id
    assert await purses_of(city.engine, wallet_id) == {"coin free": 9_000}


async def test_the_same_key_for_two_things_in_one_batch_is_a_conflict(city: City) -> None:
    request = await fresh(city, await make_payer(city))
    answers = await ask_together(city, [request, again(city, request, amount_yen=999)])
    assert isinstance(answers[0], Paid)
    assert isinstance(answers[1], Refused)
    assert answers[1].refusal.facts["different"] == ["/amount/amount"]


async def test_the_same_merchants_id_twice_in_one_batch_is_one_payment_with_two_keys(
    city: City,
) -> None:
    request = await fresh(city, await make_payer(city))
    other = again(city, request, idempotency_key=f"second {request.payment_id}")
    answers = await ask_together(city, [request, other, again(city, other)])
    assert [one.replayed for one in answers if isinstance(one, Paid)] == [False, True, True]
    assert len(await keys_of(city, request.payment_id)) == 2


async def test_a_repeat_sees_what_the_payment_was_and_not_what_has_changed_since(
    city: City,
) -> None:
    wallet_id = await make_payer(city)
    request = await fresh(city, wallet_id)
    payment = await pay(city, request)
    await change(
        city,
        "UPDATE wallet SET payment_limit_yen = 0, state = 'frozen' WHERE id = :id",
        id=wallet_id,
    )
    assert (await declined(city, await fresh(city, wallet_id))).code == "wallet_frozen"
    assert await ask_to_pay(city, again(city, request)) == Paid(payment, replayed=True)


async def test_keys_are_told_apart_to_the_letter(city: City) -> None:
    card = await make_card(city.engine, await make_payer(city))
    lower = by_card(city, card.qr_value)
    upper = by_card(city, card.qr_value, idempotency_key=lower.idempotency_key.upper())
    assert lower.idempotency_key != upper.idempotency_key
    await pay(city, lower)
    await pay(city, upper)
