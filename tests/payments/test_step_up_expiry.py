"""What is not approved in time is declined: for whoever asks, and by the worker."""

from uuid import UUID

import pytest
from msgspec.structs import replace

from tests.factories.approvals import (
    approve,
    ask,
    ask_at_once,
    challenges_of,
    later,
    left_of,
    make_rich,
    shown_by,
    signed_answer,
    told,
    waiting,
)
from tests.factories.city import City, make_city
from tests.factories.payments import again, ask_to_pay, fresh, make_payer
from tests.factories.planting import as_owner, failed
from tests.servers import Database
from wallet.core.refusals import Refusal
from wallet.payments.pay import Paid
from wallet.payments.queries import find_payment, list_payments
from wallet.payments.rules import Payment
from wallet.payments.waiting import expire_waiting
from wallet.proof import prove

pytestmark = pytest.mark.asyncio(loop_scope="module")

EXPIRED = Refusal("confirmation_expired")


async def read_of(city: City, payment_id: UUID) -> Payment:
    """Return a payment as its merchant reads it now."""
    found = await find_payment(
        city.engine, merchant_id=city.merchant.id, payment_id=payment_id, now_us=city.clock()
    )
    assert found is not None
    return found


async def test_a_challenge_lives_two_minutes(city: City) -> None:
    payer = await make_rich(city)
    payment = await waiting(city, await shown_by(city, payer))
    (challenge,) = await challenges_of(city, payer.phone)
    signature = payer.phone.soft.sign_challenge(challenge.challenge)
    async with later(city, seconds=120):
        assert await challenges_of(city, payer.phone) == []
        late = await signed_answer(city, payer.phone, payment, signature=signature)
        assert (await told(city, late)).code == "step_up_expired"
    async with later(city, seconds=119):
        in_time = await signed_answer(city, payer.phone, payment, signature=signature)
        answer = await ask(city, in_time)
    assert isinstance(answer, Paid)
    assert answer.payment.state == "succeeded"


async def test_after_three_minutes_the_same_request_is_declined_for_good(city: City) -> None:
    payer = await make_rich(city)
    request = await shown_by(city, payer)
    payment = await waiting(city, request)
    async with later(city, seconds=179):
        assert await ask_to_pay(city, again(city, request)) == Paid(payment, replayed=True)
    async with later(city, seconds=180):
        answers = await ask_at_once(city, [again(city, request) for _ in range(3)])
    expired = replace(payment, waiting=None, refusal=EXPIRED)
    assert answers == [Paid(expired, replayed=True)] * 3
    assert await read_of(city, payment.id) == expired
    answer = await ask(city, await signed_answer(city, payer.phone, payment))
    assert answer == Paid(expired, replayed=True)
    assert await left_of(city, payer) == 30_000


async def test_whoever_reads_it_after_three_minutes_finds_it_declined(city: City) -> None:
    payment = await waiting(city, await shown_by(city, await make_rich(city)))
    assert (await read_of(city, payment.id)).waiting is not None
    async with later(city, seconds=180):
        assert (await read_of(city, payment.id)).refusal == EXPIRED
    assert (await read_of(city, payment.id)).refusal == EXPIRED


async def test_an_answer_after_three_minutes_declines_it(city: City) -> None:
    payer = await make_rich(city)
    payment = await waiting(city, await shown_by(city, payer))
    async with later(city, seconds=180):
        answer = await ask(city, await signed_answer(city, payer.phone, payment))
    assert isinstance(answer, Paid)
    assert answer.payment.refusal == EXPIRED


async def test_the_worker_declines_what_is_due_once(city: City) -> None:
    due = [await waiting(city, await shown_by(city, await make_rich(city))) for _ in range(3)]
    async with later(city, seconds=60):
        young = await waiting(city, await shown_by(city, await make_rich(city)))
    async with later(city, seconds=180):
        counts = [await expire_waiting(city.engine, now_us=city.clock()) for _ in range(2)]
    assert counts == [3, 0]
    assert [(await read_of(city, one.id)).refusal for one in due] == [EXPIRED] * 3
    assert (await read_of(city, young.id)).waiting is not None


async def test_what_was_approved_is_not_declined_later(city: City) -> None:
    payer = await make_rich(city)
    payment = await waiting(city, await shown_by(city, payer))
    await approve(city, payer.phone, payment)
    async with later(city, seconds=600):
        assert await expire_waiting(city.engine, now_us=city.clock(), payment_id=payment.id) == 0
        assert (await read_of(city, payment.id)).state == "succeeded"


async def test_what_was_approved_or_declined_here_can_be_proved(city: City) -> None:
    proof = await prove(city.engine, now_us=city.clock())
    assert proof.ok, failed(proof.checks)


async def test_what_another_payment_of_its_name_has_overtaken_never_succeeds(
    database: Database,
) -> None:
    # Two tills that decide side by side can each take one name of the merchant's for a payment of
    # theirs: as if the owner had renamed it here.
    async with make_city(database.application_url, lanes=1) as city:
        payer = await make_rich(city)
        request = await shown_by(city, payer)
        payment = await waiting(city, request)
        first = await fresh(city, await make_payer(city))
        await ask_to_pay(city, first)
        await as_owner(
            database.owner_url,
            "UPDATE pending_payment SET merchant_payment_id = :name WHERE id = :id",
            name=first.merchant_payment_id,
            id=payment.id,
        )
        answer = await ask(city, await signed_answer(city, payer.phone, payment))
        assert isinstance(answer, Paid)
        assert answer.payment.refusal == EXPIRED
        found = await read_of(city, payment.id)
        assert (found.id, found.refusal) == (payment.id, EXPIRED)
        listed = await list_payments(
            city.engine, merchant_id=city.merchant.id, before=None, limit=10
        )
        assert [one.id for one in listed] == [first.payment_id]
        assert await left_of(city, payer) == 30_000
        proof = await prove(city.engine, now_us=city.clock())
        assert proof.ok, failed(proof.checks)
