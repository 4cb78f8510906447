"""Payments that take more than their instrument: they wait, and move on the payer's approval."""

from datetime import timedelta
from typing import Any

import pytest

from tests.factories.approvals import (
    ABOVE,
    approve,
    ask,
    ask_at_once,
    challenges_of,
    code_of,
    left_of,
    make_rich,
    shown_by,
    signed_answer,
    told,
    waiting,
)
from tests.factories.city import City
from tests.factories.payments import (
    again,
    ask_to_pay,
    by_code,
    declined,
    pay,
    refused,
    traces,
)
from tests.factories.phones import make_phone
from tests.factories.planting import failed
from tests.factories.residents import row_of
from wallet.auth.rules import Acr
from wallet.core.refusals import Refusal
from wallet.payments.pay import Paid, Refused
from wallet.payments.queries import find_by_merchant_payment_id, find_payment, list_payments
from wallet.payments.rules import Payment
from wallet.proof import prove

pytestmark = pytest.mark.asyncio(loop_scope="module")

STEP_UP = "SELECT consumed_by, passed_acr, failures FROM step_up WHERE id = :id"


async def seen(city: City, payment: Payment) -> Payment:
    """Return a payment as its merchant reads it."""
    merchant_id, now_us = city.merchant.id, city.clock()
    found = await find_payment(
        city.engine, merchant_id=merchant_id, payment_id=payment.id, now_us=now_us
    )
    assert found is not None
    by_name = await find_by_merchant_payment_id(
        city.engine,
        merchant_id=merchant_id,
        merchant_payment_id=payment.merchant_payment_id,
        now_us=now_us,
    )
    listed = await list_payments(city.engine, merchant_id=merchant_id, before=None, limit=101)
    assert by_name == found
    assert [one for one in listed if one.id == payment.id] == [found]
    return found


async def test_a_payment_above_the_band_waits_and_moves_nothing(city: City) -> None:
    payer = await make_rich(city)
    before = await traces(city, payer.wallet_id)
    request = await shown_by(city, payer)
    payment = await waiting(city, request)
    assert (payment.state, payment.refusal, payment.parts) == ("requires_step_up", None, ())
    assert payment.waiting is not None
    assert payment.waiting.expires_at - payment.created_at == timedelta(minutes=3)
    # Its key and its code are taken, and the phone is told; no money and no counter has moved.
    after = await traces(city, payer.wallet_id)
    purses, spent, transfers, payments, *_ = after
    assert [purses, spent, transfers, payments] == [*before[:4]]
    assert [a - b for a, b in zip(after[4:], before[4:], strict=True)] == [1, 1, 1]
    assert await seen(city, payment) == payment


async def test_the_phone_sees_the_amount_and_the_shop(city: City) -> None:
    payer = await make_rich(city)
    payment = await waiting(city, await shown_by(city, payer))
    (challenge,) = await challenges_of(city, payer.phone)
    assert (challenge.id, challenge.asks_number) == (payment.id, True)
    assert challenge.required == (Acr.PIN,)
    shop = {"shop": "白鷺青果 本町店", "shop_id": f"shp_{city.merchant.shop_id.hex}"}
    assert challenge.summary == {"amount_yen": ABOVE, **shop}
    assert await challenges_of(city, await make_phone(city.engine)) == []


async def test_what_a_code_pays_by_itself_asks_nobody(city: City) -> None:
    payer = await make_rich(city)
    await pay(city, await shown_by(city, payer, amount_yen=5_000))
    assert await challenges_of(city, payer.phone) == []


@pytest.mark.parametrize(
    ("acr", "seconds_ago", "state"),
    [
        (Acr.PIN, 0, "succeeded"),
        (Acr.PIN, 300, "succeeded"),
        (Acr.PIN, 301, "requires_step_up"),
        (Acr.PHR, 0, "succeeded"),
        (Acr.OTP, 0, "requires_step_up"),
        (Acr.DEV, 0, "requires_step_up"),
    ],
)
async def test_a_code_carries_the_level_of_its_phone_while_it_is_fresh(
    city: City, acr: Acr, seconds_ago: int, state: str
) -> None:
    payer = await make_rich(city)
    code = await code_of(city, payer, acr=acr, seconds_ago=seconds_ago)
    answer = await ask_to_pay(city, await shown_by(city, payer, code=code))
    assert isinstance(answer, Paid)
    assert answer.payment.state == state


async def test_the_same_request_is_answered_with_how_it_stands(city: City) -> None:
    payer = await make_rich(city)
    request = await shown_by(city, payer)
    payment = await waiting(city, request)
    other_key = again(city, request, idempotency_key=f"other-{payment.id}")
    for repeat in (again(city, request), other_key):
        assert await ask_to_pay(city, repeat) == Paid(payment, replayed=True)
    paid = await approve(city, payer.phone, payment)
    for repeat in (again(city, request), other_key):
        assert await ask_to_pay(city, repeat) == Paid(paid, replayed=True)
    assert await seen(city, payment) == paid
    assert paid.created_at == payment.created_at


@pytest.mark.parametrize("change_", [{"amount_yen": ABOVE + 1}, {"description": "別の品"}])
async def test_another_request_under_its_key_or_name_is_a_conflict(
    city: City, change_: dict[str, Any]
) -> None:
    request = await shown_by(city, await make_rich(city))
    payment = await waiting(city, request)
    for key in (request.idempotency_key, f"other-{payment.id}"):
        other = again(city, request, idempotency_key=key, **change_)
        refusal = await refused(city, other)
        assert refusal.code == "idempotency_conflict"
        assert refusal.facts["payment_id"] == payment.id


async def test_its_code_is_used_up_while_it_waits(city: City) -> None:
    payer = await make_rich(city)
    code = await code_of(city, payer)
    await waiting(city, await shown_by(city, payer, code=code))
    assert await declined(city, by_code(city, code)) == Refusal("code_used")


@pytest.mark.attack(20)
@pytest.mark.asvs("v5.0.0-2.3.3")
async def test_an_approval_moves_the_money_and_uses_the_challenge_up(city: City) -> None:
    payer = await make_rich(city)
    payment = await waiting(city, await shown_by(city, payer))
    paid = await approve(city, payer.phone, payment)
    assert [part.amount_yen for part in paid.parts] == [ABOVE]
    assert await left_of(city, payer) == 30_000 - ABOVE
    row = await row_of(city.engine, STEP_UP, id=payment.id)
    assert row == {"consumed_by": payment.id, "passed_acr": "pin", "failures": 0}
    assert await challenges_of(city, payer.phone) == []


@pytest.mark.attack(12)
async def test_an_approval_without_the_number_on_the_shops_screen_is_none(city: City) -> None:
    payer = await make_rich(city)
    payment = await waiting(city, await shown_by(city, payer))
    assert payment.waiting is not None
    wrong = f"{(int(payment.waiting.number or '0') + 1) % 100:02}"
    for number, tries_left in ((wrong, 4), (None, 3)):
        answer = await signed_answer(city, payer.phone, payment, number=number)
        assert await told(city, answer) == Refusal("step_up_failed", {"tries_left": tries_left})
    assert await left_of(city, payer) == 30_000
    await approve(city, payer.phone, payment)


async def test_an_approval_with_another_signature_is_none(city: City) -> None:
    payer, thief = await make_rich(city), await make_rich(city)
    payment = await waiting(city, await shown_by(city, payer))
    (challenge,) = await challenges_of(city, payer.phone)
    signature = thief.phone.soft.sign_challenge(challenge.challenge)
    answer = await signed_answer(city, payer.phone, payment, signature=signature)
    assert (await told(city, answer)).code == "step_up_failed"


@pytest.mark.attack(8)
async def test_five_wrong_answers_end_the_payment(city: City) -> None:
    payer = await make_rich(city)
    request = await shown_by(city, payer)
    payment = await waiting(city, request)
    wrong = [await signed_answer(city, payer.phone, payment, signature=b"") for _ in range(7)]
    answers = await ask_at_once(city, wrong)
    refusals = [one.refusal.code for one in answers if isinstance(one, Refused)]
    assert refusals == ["step_up_failed"] * 5
    for answer in answers[5:]:  # They learn what has become of it.
        assert isinstance(answer, Paid)
        assert answer.payment.refusal == Refusal("confirmation_failed")
    late = await ask(city, await signed_answer(city, payer.phone, payment))
    assert isinstance(late, Paid)
    assert late.payment.refusal == Refusal("confirmation_failed")
    assert (await seen(city, payment)).refusal == Refusal("confirmation_failed")
    assert await declined(city, again(city, request)) == Refusal("confirmation_failed")
    assert await left_of(city, payer) == 30_000


async def test_nobody_elses_phone_approves(city: City) -> None:
    payer, other = await make_rich(city), await make_rich(city)
    second = await make_phone(city.engine, principal_id=payer.id)
    payment = await waiting(city, await shown_by(city, payer))
    for phone in (other.phone, second):
        answer = await signed_answer(city, phone, payment)
        assert await told(city, answer) == Refusal("step_up_unknown")
    await approve(city, payer.phone, payment)


@pytest.mark.attack(19)
async def test_an_approval_repeated_fifty_times_at_once_pays_once(city: City) -> None:
    payer = await make_rich(city)
    payment = await waiting(city, await shown_by(city, payer))
    same = [await signed_answer(city, payer.phone, payment) for _ in range(50)]
    answers = await ask_at_once(city, same)
    assert {one.payment.state for one in answers if isinstance(one, Paid)} == {"succeeded"}
    assert [one.replayed for one in answers if isinstance(one, Paid)] == [False] + [True] * 49
    assert await left_of(city, payer) == 30_000 - ABOVE


async def test_whatever_was_approved_here_can_be_proved(city: City) -> None:
    proof = await prove(city.engine, now_us=city.clock())
    assert proof.ok, failed(proof.checks)
