"""Between the question and the answer everything may change: the answer is decided anew."""

import pytest

from tests.factories.approvals import (
    ABOVE,
    approve,
    ask,
    ask_at_once,
    code_of,
    left_of,
    make_rich,
    shown_by,
    signed_answer,
    told,
    waiting,
)
from tests.factories.city import City
from tests.factories.payments import by_card, change, engage, pay, release
from tests.factories.people import make_card
from tests.factories.planting import failed
from tests.factories.residents import Resident, within
from wallet.auth.revoke_device import revoke_device
from wallet.auth.revoke_sessions import revoke_sessions
from wallet.auth.rules import Acr
from wallet.core.refusals import Refusal
from wallet.payments.pay import Paid
from wallet.people.cool_off import cool_off
from wallet.people.freeze import freeze, unfreeze
from wallet.proof import prove

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def refusal_of(city: City, payer: Resident, changed: str, **values: object) -> Refusal | None:
    """Let a payment wait, change something, approve it, and return why it was declined."""
    payment = await waiting(city, await shown_by(city, payer))
    await change(city, changed, **values)
    answer = await ask(city, await signed_answer(city, payer.phone, payment))
    assert isinstance(answer, Paid)
    assert answer.payment.parts == ()
    return answer.payment.refusal


async def test_money_that_was_spent_meanwhile_is_missing(city: City) -> None:
    payer = await make_rich(city, yen=ABOVE)
    payment = await waiting(city, await shown_by(city, payer))
    await pay(city, await shown_by(city, payer, amount_yen=1_000))
    answer = await ask(city, await signed_answer(city, payer.phone, payment))
    assert isinstance(answer, Paid)
    assert answer.payment.refusal is not None
    assert answer.payment.refusal.code == "balance_insufficient"
    assert await left_of(city, payer) == ABOVE - 1_000


async def test_limits_that_were_lowered_meanwhile_hold(city: City) -> None:
    payer = await make_rich(city)
    lower = "UPDATE wallet SET daily_limit_yen = 500 WHERE id = :id"
    refusal = await refusal_of(city, payer, lower, id=payer.wallet_id)
    assert refusal == Refusal("limit_daily", {"limit_yen": 500, "left_yen": 500})


async def test_approvals_of_one_batch_count_towards_one_day(city: City) -> None:
    payer = await make_rich(city, yen=60_000)
    payments = [
        await waiting(city, await shown_by(city, payer, amount_yen=20_000)) for _ in range(3)
    ]
    answers = [await signed_answer(city, payer.phone, one) for one in payments]
    plain = await shown_by(city, payer, amount_yen=5_000)
    states = [one.payment.state for one in await ask_at_once(city, [*answers, plain])
              if isinstance(one, Paid)]  # fmt: skip
    assert states == ["succeeded", "succeeded", "declined", "succeeded"]
    assert await left_of(city, payer) == 15_000


async def test_a_wallet_that_was_frozen_meanwhile_pays_nothing(city: City) -> None:
    payer = await make_rich(city)
    frozen = "UPDATE wallet SET state = 'frozen' WHERE id = :id"
    refusal = await refusal_of(city, payer, frozen, id=payer.wallet_id)
    assert refusal == Refusal("wallet_frozen")


async def test_a_person_who_was_frozen_meanwhile_approves_nothing(city: City) -> None:
    payer = await make_rich(city)
    payment = await waiting(city, await shown_by(city, payer))
    answer = await signed_answer(city, payer.phone, payment)
    await within(
        city.engine,
        lambda c: freeze(c, person_id=payer.id, because="own", now_us=city.clock()),
    )
    assert (await told(city, answer)).code == "step_up_expired"  # It died with the freeze.
    assert await left_of(city, payer) == 30_000


async def test_a_sign_in_that_was_changed_meanwhile_lets_less_through(city: City) -> None:
    payer = await make_rich(city)
    payment = await waiting(city, await shown_by(city, payer))
    await within(
        city.engine,
        lambda c: cool_off(c, person_id=payer.id, because="contact", now_us=city.clock()),
    )
    answer = await ask(city, await signed_answer(city, payer.phone, payment))
    assert isinstance(answer, Paid)
    assert answer.payment.refusal == Refusal("limit_cooling_off", {"limit_yen": 5_000})


@pytest.mark.asvs("v5.0.0-7.4.1")
async def test_a_phone_that_was_revoked_meanwhile_approves_nothing(city: City) -> None:
    payer = await make_rich(city)
    payment = await waiting(city, await shown_by(city, payer))
    answer = await signed_answer(city, payer.phone, payment)
    await within(
        city.engine,
        lambda c: revoke_device(
            c,
            principal_id=payer.id,
            device_id=payer.phone.device_id,
            because="test",
            now_us=city.clock(),
        ),
    )
    assert (await told(city, answer)).code == "unauthenticated"


async def test_a_session_that_was_ended_meanwhile_approves_nothing(city: City) -> None:
    payer = await make_rich(city)
    payment = await waiting(city, await shown_by(city, payer))
    answer = await signed_answer(city, payer.phone, payment)
    await within(
        city.engine,
        lambda c: revoke_sessions(c, principal_id=payer.id, because="test", now_us=city.clock()),
    )
    assert (await told(city, answer)).code == "unauthenticated"


@pytest.mark.parametrize("scope", ["all", "pay", "tier:T1", "app-version:1.0.0"])
async def test_a_stop_keeps_the_answer_for_when_money_flows_again(city: City, scope: str) -> None:
    payer = await make_rich(city)
    payment = await waiting(city, await shown_by(city, payer))
    await engage(city, scope)
    try:
        answer = await signed_answer(city, payer.phone, payment)
        assert await told(city, answer) == Refusal("service_stopped")
    finally:
        await release(city, scope)
    # It was passed before; nothing needs to be signed again.
    again = await signed_answer(city, payer.phone, payment, signature=None)
    answered = await ask(city, again)
    assert isinstance(answered, Paid)
    assert answered.payment.state == "succeeded"


async def test_a_suspended_merchant_is_not_paid(city: City) -> None:
    payer = await make_rich(city)
    payment = await waiting(city, await shown_by(city, payer))
    state = "UPDATE merchant SET state = :state WHERE id = :id"
    await change(city, state, state="suspended", id=city.merchant.id)
    try:
        refusal = await told(city, await signed_answer(city, payer.phone, payment))
        assert refusal == Refusal("merchant_suspended")
    finally:
        await change(city, state, state="active", id=city.merchant.id)
    assert await left_of(city, payer) == 30_000


async def test_a_card_that_was_blocked_meanwhile_pays_nothing(city: City) -> None:
    payer = await make_rich(city)
    card = await make_card(city.engine, payer.wallet_id, payment_limit_yen=9_000)
    payment = await waiting(city, by_card(city, card.qr_value, amount_yen=ABOVE))
    await change(city, "UPDATE card SET state = 'blocked' WHERE id = :id", id=card.id)
    answer = await ask(city, await signed_answer(city, payer.phone, payment))
    assert isinstance(answer, Paid)
    assert answer.payment.refusal == Refusal("card_blocked")


async def test_an_approval_of_one_payment_is_none_of_another(city: City) -> None:
    payer = await make_rich(city)
    first, second = [await waiting(city, await shown_by(city, payer)) for _ in range(2)]
    mixed = await signed_answer(city, payer.phone, first)
    other = await signed_answer(city, payer.phone, second, signature=mixed.signature)
    assert (await told(city, other)).code == "step_up_failed"
    await approve(city, payer.phone, second)


async def test_a_thawed_person_pays_little_for_twelve_hours(city: City) -> None:
    payer = await make_rich(city)
    for work in (
        lambda c: freeze(c, person_id=payer.id, because="own", now_us=city.clock()),
        lambda c: unfreeze(c, person_id=payer.id, now_us=city.clock()),
    ):
        await within(city.engine, work)
    code = await code_of(city, payer, acr=Acr.PHR)
    answer = await ask(city, await shown_by(city, payer, code=code))
    assert isinstance(answer, Paid)
    assert answer.payment.refusal == Refusal("limit_cooling_off", {"limit_yen": 5_000})
    await pay(city, await shown_by(city, payer, amount_yen=5_000))


async def test_whatever_changed_here_can_be_proved(city: City) -> None:
    proof = await prove(city.engine, now_us=city.clock())
    assert proof.ok, failed(proof.checks)
