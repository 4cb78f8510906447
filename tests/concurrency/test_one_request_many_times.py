"""The same request from a hundred sides at once is one payment, and everybody hears of it."""

from collections import Counter
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from tests.api.answers import is_replay, payment_of, problem_of
from tests.concurrency.rush import Rush
from tests.factories.payments import make_payer
from tests.factories.people import make_card
from tests.factories.vouchers import purses_of
from wallet.core.database import read

TIMES = 100

LEFT = text("""
SELECT (SELECT count(*) FROM payment WHERE merchant_id = :merchant_id) AS payments,
       (SELECT count(*) FROM idempotency_key WHERE principal_id = :merchant_id) AS keys,
       (SELECT count(*) FROM outbox WHERE body ->> 'merchant_id' = :merchant) AS events
""")


async def left_by(rush: Rush) -> tuple[int, int, int]:
    """Return how many payments, keys and events there are of the city's merchant."""
    merchant_id = rush.city.merchant.id
    values = {"merchant_id": merchant_id, "merchant": str(merchant_id)}
    async with read(rush.city.engine) as connection:
        row = (await connection.execute(LEFT, values)).one()
        return row.payments, row.keys, row.events


async def balance_of(rush: Rush, wallet_id: UUID) -> int:
    """Return what a wallet has of free money."""
    return (await purses_of(rush.city.engine, wallet_id))["coin free"]


@pytest.mark.attack(19)
@pytest.mark.parametrize("instrument", ["cpm_code", "card"])
async def test_a_request_repeated_at_once_is_one_payment_with_one_answer(
    rush: Rush, instrument: str
) -> None:
    value = rush.city.code if instrument == "cpm_code" else rush.city.card.qr_value
    body = rush.tills[0].body("", instrument={"type": instrument, "value": value})
    responses = await rush.pay([body] * TIMES, keys=["the-same"] * TIMES)
    assert {one.content for one in responses} == {responses[0].content}
    assert payment_of(responses[0])["paid"]
    assert [is_replay(one) for one in responses].count(False) == 1
    assert {one.status_code for one in responses} == {201}
    assert await left_by(rush) == (1, 1, 1)
    assert await balance_of(rush, rush.city.wallet_id) == 9_000


async def test_a_request_declined_at_once_is_declined_for_everybody_alike(rush: Rush) -> None:
    wallet_id = await make_payer(rush.city, yen=800)
    (code,) = await rush.city.codes(wallet_id=wallet_id)
    body = rush.tills[0].body(code)
    responses = await rush.pay([body] * TIMES, keys=["the-same"] * TIMES)
    told = [problem_of(one, "balance_insufficient") for one in responses]
    assert {one["payment_id"] for one in told} == {told[0]["payment_id"]}
    assert {one["missing_yen"] for one in told} == {200}
    assert [is_replay(one) for one in responses].count(False) == 1
    assert await left_by(rush) == (1, 1, 1)
    assert await balance_of(rush, wallet_id) == 800


@pytest.mark.attack(19)
async def test_one_key_for_a_hundred_requests_has_one_effect(rush: Rush) -> None:
    codes = await rush.city.codes(TIMES)
    bodies = [
        rush.tills[0].body(code, amount={"amount": number, "currency": "JPY"})
        for number, code in enumerate(codes, 1)
    ]
    responses = await rush.pay(bodies, keys=["the-same"] * TIMES)
    (paid,) = [payment_of(one) for one in responses if one.status_code == 201]
    conflicts = [one for one in responses if one.status_code != 201]
    for response in conflicts:
        told = problem_of(response, "idempotency_conflict")
        assert told["payment_id"] == paid["id"]
        assert "/amount/amount" in told["different"]
    assert len(conflicts) == TIMES - 1
    assert await left_by(rush) == (1, 1, 1)
    assert await balance_of(rush, rush.city.wallet_id) == 10_000 - paid["amount"]["amount"]


@pytest.mark.parametrize("instrument", ["cpm_code", "card"])
async def test_the_merchants_id_under_a_hundred_keys_is_one_payment(
    rush: Rush, instrument: str
) -> None:
    value = rush.city.code if instrument == "cpm_code" else rush.city.card.qr_value
    body = rush.tills[0].body("", instrument={"type": instrument, "value": value})
    responses = await rush.pay([body] * TIMES)
    assert {one.content for one in responses} == {responses[0].content}
    assert payment_of(responses[0])["paid"]
    assert [is_replay(one) for one in responses].count(False) == 1
    assert await left_by(rush) == (1, TIMES, 1)
    assert await balance_of(rush, rush.city.wallet_id) == 9_000


async def test_the_merchants_id_for_a_hundred_requests_has_one_effect(rush: Rush) -> None:
    codes = await rush.city.codes(TIMES)
    bodies = [rush.tills[0].body(code, merchant_payment_id="one-receipt") for code in codes]
    responses = await rush.pay(bodies)
    statuses = Counter(one.status_code for one in responses)
    assert statuses == {201: 1, 422: TIMES - 1}
    assert await left_by(rush) == (1, 1, 1)
    assert await balance_of(rush, rush.city.wallet_id) == 9_000


async def test_retries_and_new_payments_do_not_disturb_each_other(rush: Rush) -> None:
    wallets = [await make_payer(rush.city) for _ in range(10)]
    cards = [await make_card(rush.city.engine, wallet_id) for wallet_id in wallets]
    once = [
        rush.tills[0].body("", instrument={"type": "card", "value": card.qr_value})
        for card in cards
        for _ in range(2)
    ]
    keys = [str(uuid4()) for _ in once]
    # Every request comes five times, in orders that cross.
    responses = await rush.pay(
        [*once, *reversed(once), *once, *reversed(once), *once],
        keys=[*keys, *reversed(keys), *keys, *reversed(keys), *keys],
    )
    assert {one.status_code for one in responses} == {201}
    assert [is_replay(one) for one in responses].count(False) == len(once)
    assert [await balance_of(rush, wallet_id) for wallet_id in wallets] == [8_000] * 10
