"""Paying on the real ledger: what is booked, what is kept of a refusal, and what is told."""

from datetime import date
from typing import Any

import pytest
from sqlalchemy import text

from tests.factories.city import City
from tests.factories.payments import (
    again,
    ask_to_pay,
    change,
    declined,
    fresh,
    make_payer,
    pay,
    refused,
    traces,
)
from tests.factories.programmes import free_draft, make_programme, voucher_draft
from tests.factories.vouchers import give, purses_of
from wallet.core.database import read
from wallet.core.ids import numbered_id
from wallet.core.refusals import Refusal
from wallet.ledger.chart import TRANSFER_PAYMENT
from wallet.ledger.rules import LINKED
from wallet.payments.pay import Paid
from wallet.payments.rules import Part, Payment

pytestmark = pytest.mark.asyncio(loop_scope="module")

LEGS = text("""
SELECT id, debit_account_id, credit_account_id, amount, flags, code, user_data_128
FROM transfer WHERE user_data_128 = :payment_id ORDER BY id
""")
EVENT = text("SELECT kind, body, created_at FROM outbox WHERE event_id = :payment_id")
CODE_OF = text("SELECT burnt_by FROM one_time_code WHERE code_hash = :code_hash")
PAYABLE = text("""
SELECT (credits_posted - debits_posted)::bigint FROM balance WHERE account_id = :account_id
""")


async def rows(city: City, statement: Any, **values: object) -> list[Any]:  # noqa: ANN401 - rows
    """Return the rows of a query."""
    async with read(city.engine) as connection:
        return list((await connection.execute(statement, values)).all())


async def test_a_payment_moves_the_money_from_the_purse_to_the_shop(city: City) -> None:
    wallet_id = await make_payer(city, yen=3_000)
    ((before_yen,),) = await rows(city, PAYABLE, account_id=city.merchant.shop_id)
    payment = await pay(city, await fresh(city, wallet_id, amount_yen=1_200))
    assert payment.parts == (Part("coin", "free", 1_200),)
    assert payment.wallet_id == wallet_id
    assert await purses_of(city.engine, wallet_id) == {"coin free": 1_800}
    ((after_yen,),) = await rows(city, PAYABLE, account_id=city.merchant.shop_id)
    assert after_yen - before_yen == 1_200


async def test_several_purses_pay_as_one_chain_in_spending_order(city: City) -> None:
    await make_programme(city.teller, voucher_draft("chain", shops="small"))
    await make_programme(city.teller, free_draft("chain-soon", last_day=date(2026, 12, 31)))
    wallet_id = await make_payer(city, yen=5_000)
    await give(city.teller, wallet_id, "chain", sets=1)
    await give(city.teller, wallet_id, "chain-soon", amount_yen=700)
    request = await fresh(city, wallet_id, amount_yen=8_000)
    payment = await pay(city, request)
    assert payment.parts == (
        Part("chain", "paid", 5_000),
        Part("chain", "premium", 1_250),
        Part("chain-soon", "free", 700),
        Part("coin", "free", 1_050),
    )
    assert await purses_of(city.engine, wallet_id) == {
        "chain paid": 0,
        "chain premium": 0,
        "chain-soon free": 0,
        "coin free": 3_950,
    }
    legs = await rows(city, LEGS, payment_id=payment.id)
    assert [leg.id for leg in legs] == [numbered_id(payment.id, n) for n in range(1, 5)]
    assert [leg.flags for leg in legs] == [LINKED, LINKED, LINKED, 0]
    assert {leg.code for leg in legs} == {TRANSFER_PAYMENT}
    assert {leg.credit_account_id for leg in legs} == {city.merchant.shop_id}
    assert [leg.amount for leg in legs] == [part.amount_yen for part in payment.parts]
    # What is read back later is what was answered at once, in the same order.
    assert await ask_to_pay(city, again(city, request)) == Paid(payment, replayed=True)


@pytest.mark.attack(27)
async def test_a_wallet_can_be_spent_to_the_last_yen_and_no_further(city: City) -> None:
    wallet_id = await make_payer(city, yen=1_000)
    await pay(city, await fresh(city, wallet_id, amount_yen=1_000))
    refusal = await declined(city, await fresh(city, wallet_id, amount_yen=1))
    assert refusal == Refusal("balance_insufficient", {"available_yen": 0, "missing_yen": 1})
    assert await purses_of(city.engine, wallet_id) == {"coin free": 0}


async def test_a_wallet_that_never_held_money_is_declined_like_an_empty_one(city: City) -> None:
    wallet_id = await make_payer(city, yen=0)
    refusal = await declined(city, await fresh(city, wallet_id, amount_yen=1_000))
    assert refusal == Refusal("balance_insufficient", {"available_yen": 0, "missing_yen": 1_000})


async def test_a_declined_payment_leaves_a_record_and_moves_nothing(city: City) -> None:
    wallet_id = await make_payer(city, yen=800)
    request = await fresh(city, wallet_id, amount_yen=1_200)
    before = await traces(city, wallet_id)
    assert (await declined(city, request)).code == "balance_insufficient"
    after = await traces(city, wallet_id)
    purses, spent, transfers, payments, keys, events, burnt = before
    assert after == (purses, spent, transfers, payments + 1, keys + 1, events + 1, burnt + 1)


async def test_a_request_that_is_refused_leaves_no_trace(city: City) -> None:
    wallet_id = await make_payer(city)
    request = await fresh(city, wallet_id, terminal_id=city.merchant.shop_id)
    before = await traces(city, wallet_id)
    assert await refused(city, request) == Refusal("terminal_unknown")
    assert await traces(city, wallet_id) == before


async def test_a_payment_is_told_to_the_outbox(city: City) -> None:
    request = await fresh(city, await make_payer(city), amount_yen=1_200)
    payment = await pay(city, request)
    ((kind, body, created_at),) = await rows(city, EVENT, payment_id=payment.id)
    assert kind == "payment.succeeded"
    assert created_at == payment.created_at
    assert body == {
        "payment_id": str(payment.id),
        "merchant_id": str(city.merchant.id),
        "merchant_payment_id": request.merchant_payment_id,
        "amount_yen": 1_200,
    }


async def test_a_declined_payment_is_told_to_the_outbox_too(city: City) -> None:
    request = await fresh(city, await make_payer(city, yen=0))
    await declined(city, request)
    ((kind, *_),) = await rows(city, EVENT, payment_id=request.payment_id)
    assert kind == "payment.declined"


@pytest.mark.asvs("v5.0.0-2.3.3")
async def test_a_batch_that_cannot_be_written_leaves_no_event_and_no_money_moved(
    city: City,
) -> None:
    wallet_id = await make_payer(city)
    # The database refuses the text, after every decision was made.
    request = await fresh(city, wallet_id, description="a zero byte: \0")
    before = await traces(city, wallet_id)
    with pytest.raises(Exception, match="invalid byte sequence"):
        await ask_to_pay(city, request)
    assert await traces(city, wallet_id) == before
    await pay(city, await fresh(city, wallet_id))


async def test_the_description_and_the_shop_are_kept_with_the_payment(city: City) -> None:
    request = await fresh(city, await make_payer(city), description="野菜と果物")
    payment = await pay(city, request)
    assert isinstance(payment, Payment)
    assert payment.description == "野菜と果物"
    assert payment.shop_id == city.merchant.shop_id
    assert payment.terminal_id == city.merchant.terminal_id


async def test_the_code_remembers_the_payment_that_used_it(city: City) -> None:
    request = await fresh(city, await make_payer(city))
    assert await rows(city, CODE_OF, code_hash=request.instrument_hash) == [(None,)]
    payment = await pay(city, request)
    assert await rows(city, CODE_OF, code_hash=request.instrument_hash) == [(payment.id,)]


@pytest.mark.attack(28)
async def test_nobody_can_change_a_payment_afterwards(city: City) -> None:
    payment = await pay(city, await fresh(city, await make_payer(city)))
    with pytest.raises(Exception, match="permission denied"):
        await change(city, "UPDATE payment SET amount_yen = 1 WHERE id = :id", id=payment.id)
