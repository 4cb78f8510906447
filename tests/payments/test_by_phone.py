"""People who pay a shop by their phone: who they are, what they must show, and only once."""

from typing import Any
from uuid import UUID, uuid4

import pytest
from msgspec.structs import replace

from tests.factories.approvals import (
    ABOVE,
    ask,
    ask_at_once,
    by_phone,
    challenges_of,
    claim_of,
    later,
    left_of,
    make_rich,
    told,
)
from tests.factories.city import City, make_city
from tests.factories.merchants import make_merchant
from tests.factories.payments import change, engage, make_payer, release
from tests.factories.phones import Phone, make_phone, sign_in
from tests.factories.planting import failed
from tests.factories.residents import Resident, make_resident, make_visitor, within
from tests.factories.vouchers import give
from tests.servers import Database
from tests.soft_device import SoftKey
from wallet.auth.revoke_sessions import revoke_sessions
from wallet.auth.rules import Acr
from wallet.core.clock import to_datetime
from wallet.core.refusals import Refusal
from wallet.payments.by_phone import AnswerChallenge, PayByPhone
from wallet.payments.pay import Approved, Challenged, Paid, Refused
from wallet.payments.rules import APP, Payment
from wallet.people.freeze import freeze
from wallet.people.tables import guardianship
from wallet.proof import prove

pytestmark = pytest.mark.asyncio(loop_scope="module")

UNAUTHENTICATED = Refusal("unauthenticated")


async def paid_by(city: City, request: PayByPhone) -> Payment:
    """Have a phone's request paid, or fail the test."""
    answer = await ask(city, request)
    assert isinstance(answer, Paid), answer
    assert answer.payment.state == "succeeded", answer
    return answer.payment


async def refusal_of(city: City, request: PayByPhone) -> Refusal | None:
    """Return why a phone's payment was declined."""
    answer = await ask(city, request)
    assert isinstance(answer, Paid), answer
    return answer.payment.refusal


async def challenged(city: City, request: PayByPhone) -> Challenged:
    """Have a request asked for more, or fail the test."""
    answer = await ask(city, request)
    assert isinstance(answer, Challenged), answer
    return answer


def again(city: City, phone: Phone, request: PayByPhone, **changes: Any) -> PayByPhone:  # noqa: ANN401 - fields of many types
    """Return the same request as the phone sends it again: with a proof of its own."""
    return replace(
        request, payment_id=by_phone(city, phone).payment_id, sender=claim_of(city, phone),
        **changes,
    )  # fmt: skip


async def passed(city: City, phone: Phone, request: PayByPhone) -> PayByPhone:
    """Pass the challenge to a request, and return the request that names it."""
    answer = await challenged(city, request)
    signature = phone.soft.sign_challenge(answer.challenge.challenge)
    approval = AnswerChallenge(answer.challenge.id, claim_of(city, phone), signature, None)
    assert await ask(city, approval) == Approved(answer.challenge.id)
    return again(city, phone, request, step_up_id=answer.challenge.id)


async def test_a_phone_pays_a_small_amount_by_itself(city: City) -> None:
    payer = await make_rich(city)
    payment = await paid_by(city, by_phone(city, payer.phone, amount_yen=5_000))
    assert (payment.instrument, payment.asked_by) == (APP, payer.id)
    assert (payment.merchant_id, payment.shop_id) == (city.merchant.id, city.merchant.shop_id)
    assert payment.wallet_id == payer.wallet_id
    assert await left_of(city, payer) == 25_000


async def test_above_the_band_it_is_asked_for_more_and_nothing_is_kept(city: City) -> None:
    payer = await make_rich(city)
    request = by_phone(city, payer.phone)
    answer = await challenged(city, request)
    assert answer.challenge.required == (Acr.PIN,)
    assert answer.challenge.number_match is None
    assert answer.challenge.device_id == payer.phone.device_id
    assert [one.id for one in await challenges_of(city, payer.phone)] == [answer.challenge.id]
    # The key is free: the very same intent may be asked for anew, and is asked for more again.
    other = await challenged(city, again(city, payer.phone, request))
    assert other.challenge.id != answer.challenge.id
    assert await left_of(city, payer) == 30_000


@pytest.mark.attack(20)
async def test_what_was_approved_is_paid_once_under_its_key(city: City) -> None:
    payer = await make_rich(city)
    request = await passed(city, payer.phone, by_phone(city, payer.phone))
    payment = await paid_by(city, request)
    assert payment.amount_yen == ABOVE
    repeats = [again(city, payer.phone, request) for _ in range(3)]
    repeats += [again(city, payer.phone, request, step_up_id=None)]
    assert await ask_at_once(city, repeats) == [Paid(payment, replayed=True)] * 4
    assert await left_of(city, payer) == 30_000 - ABOVE


@pytest.mark.attack(20)
@pytest.mark.parametrize("changed", ["yen", "payee", "key", "wallet"])
async def test_what_was_approved_is_no_approval_of_anything_else(city: City, changed: str) -> None:
    payer = await make_rich(city)
    request = await passed(city, payer.phone, by_phone(city, payer.phone))
    other: dict[str, Any] = {}
    if changed == "yen":
        other = {"amount_yen": ABOVE + 1}
    elif changed == "payee":
        other = {"terminal_id": (await make_merchant(city.engine, city.teller)).terminal_id}
    elif changed == "key":
        other = {"idempotency_key": "another"}
    else:
        other = {"wallet_id": await ward_of(city, payer)}
    refusal = await told(city, again(city, payer.phone, request, **other))
    assert refusal == Refusal("step_up_mismatch", {"acr_values": [Acr.PIN], "max_age_s": 300})
    assert await left_of(city, payer) == 30_000
    await paid_by(city, again(city, payer.phone, request))


async def test_fifty_requests_on_one_approval_pay_once(city: City) -> None:
    payer = await make_rich(city)
    request = await passed(city, payer.phone, by_phone(city, payer.phone))
    same = [again(city, payer.phone, request) for _ in range(25)]
    other = [again(city, payer.phone, request, idempotency_key=f"k{n}") for n in range(25)]
    answers = await ask_at_once(
        city, [one for pair in zip(same, other, strict=True) for one in pair]
    )
    assert [one.replayed for one in answers if isinstance(one, Paid)] == [False] + [True] * 24
    refused = [one.refusal.code for one in answers if isinstance(one, Refused)]
    assert refused == ["step_up_used"] * 25
    assert await left_of(city, payer) == 30_000 - ABOVE


@pytest.mark.parametrize("answered_first", [True, False])
async def test_an_answer_and_its_payment_may_share_a_batch(
    database: Database, *, answered_first: bool
) -> None:
    async with make_city(database.application_url, lanes=1) as city:
        payer = await make_rich(city)
        request = by_phone(city, payer.phone)
        challenge = (await challenged(city, request)).challenge
        signature = payer.phone.soft.sign_challenge(challenge.challenge)
        answer = AnswerChallenge(challenge.id, claim_of(city, payer.phone), signature, None)
        named = again(city, payer.phone, request, step_up_id=challenge.id)
        both = [answer, named] if answered_first else [named, answer]
        told_both = dict(zip(map(type, both), await ask_at_once(city, both), strict=True))
        assert told_both[AnswerChallenge] == Approved(challenge.id)
        if answered_first:
            assert isinstance(told_both[PayByPhone], Paid)
        else:
            refused = told_both[PayByPhone]
            assert isinstance(refused, Refused)
            assert refused.refusal.code == "step_up_not_passed"
            await paid_by(city, again(city, payer.phone, named))
        assert await left_of(city, payer) == 30_000 - ABOVE


async def test_an_approval_that_was_not_given_or_came_too_late_is_none(city: City) -> None:
    payer = await make_rich(city)
    request = by_phone(city, payer.phone)
    answer = await challenged(city, request)
    named = again(city, payer.phone, request, step_up_id=answer.challenge.id)
    assert (await told(city, named)).code == "step_up_not_passed"
    approved = await passed(city, payer.phone, by_phone(city, payer.phone))
    async with later(city, seconds=120):
        late = again(city, payer.phone, approved)
        assert (await told(city, late)).code == "step_up_expired"
    nobodys = again(city, payer.phone, request, step_up_id=uuid4())
    assert (await told(city, nobodys)).code == "step_up_unknown"


async def test_a_pin_that_was_shown_just_now_needs_no_challenge(city: City) -> None:
    payer = await make_rich(city)
    tokens = await sign_in(city.engine, payer.id, payer.phone.device_id, now_us=city.clock())
    phone = replace_tokens(payer.phone, tokens)
    await paid_by(city, by_phone(city, phone))
    async with later(city, seconds=301):
        await challenged(city, by_phone(city, phone))


def replace_tokens(phone: Phone, tokens: Any) -> Phone:  # noqa: ANN401 - a session's tokens
    """Return the phone with another session."""
    return Phone(
        principal_id=phone.principal_id, device_id=phone.device_id, tokens=tokens, soft=phone.soft
    )


async def test_nobody_is_let_through_because_nothing_is_enrolled(city: City) -> None:
    visitor = await make_visitor(city.engine, "phone@example.jp")
    await give(city.teller, visitor.wallet_id, amount_yen=10_000)
    refusal = await told(city, by_phone(city, visitor.phone))
    assert refusal == Refusal("confirmation_unavailable", {"acr_values": [Acr.PIN]})
    await paid_by(city, by_phone(city, visitor.phone, amount_yen=5_000))


@pytest.mark.attack(19)
async def test_a_proof_opens_the_till_once(city: City) -> None:
    payer = await make_rich(city)
    request = by_phone(city, payer.phone, amount_yen=1_000)
    first, second = await ask_at_once(
        city, [request, by_phone(city, payer.phone, sender=request.sender, amount_yen=1_000)]
    )
    assert isinstance(first, Paid)
    assert second == Refused(Refusal("proof_replayed"))
    replayed = by_phone(city, payer.phone, sender=request.sender, amount_yen=1_000)
    assert await told(city, replayed) == Refusal("proof_replayed")
    assert await left_of(city, payer) == 29_000


async def test_a_proof_by_another_key_is_nobodys(city: City) -> None:
    payer, thief = await make_rich(city), await make_rich(city)
    token = payer.phone.tokens.access_token
    stolen = replace_tokens(thief.phone, payer.phone.tokens)
    assert stolen.tokens.access_token == token
    assert await told(city, by_phone(city, stolen, amount_yen=1)) == UNAUTHENTICATED


async def test_a_token_with_another_end_is_nobodys(city: City) -> None:
    payer = await make_rich(city)
    claim = claim_of(city, payer.phone)
    forged = replace(claim, token=replace(claim.token, mac="A" * 43))
    older = replace(claim, token=replace(claim.token, generation=2))
    unknown = replace(claim, token=replace(claim.token, session_id=uuid4()))
    proof = replace(claim.proof, public_key=SoftKey().public_key)
    other_key = replace(claim, proof=proof)
    for sender in (forged, older, unknown, other_key):
        assert await told(city, by_phone(city, payer.phone, sender=sender)) == UNAUTHENTICATED


@pytest.mark.asvs("v5.0.0-7.4.1")
async def test_a_session_that_has_ended_pays_nothing(city: City) -> None:
    payer = await make_rich(city)
    async with later(city, seconds=600):
        late = by_phone(city, payer.phone, amount_yen=1_000)
        assert await told(city, late) == UNAUTHENTICATED
    request = by_phone(city, payer.phone, amount_yen=1_000)
    await within(
        city.engine,
        lambda c: revoke_sessions(c, principal_id=payer.id, because="test", now_us=city.clock()),
    )
    assert await told(city, request) == UNAUTHENTICATED
    assert await left_of(city, payer) == 30_000


async def test_another_request_under_the_key_is_a_conflict(city: City) -> None:
    payer = await make_rich(city)
    request = by_phone(city, payer.phone, amount_yen=1_000)
    payment = await paid_by(city, request)
    other = await make_merchant(city.engine, city.teller)
    ward = await ward_of(city, payer)
    for pointer, changed in (
        ("/amount/amount", {"amount_yen": 999}),
        ("/terminal_id", {"terminal_id": other.terminal_id}),
        ("/wallet_id", {"wallet_id": ward}),
    ):
        refusal = await told(city, again(city, payer.phone, request, **changed))
        facts = {"different": [pointer], "payment_id": payment.id}
        assert refusal == Refusal("idempotency_conflict", facts)


async def test_two_people_may_use_the_same_key(city: City) -> None:
    first, second = await make_rich(city), await make_rich(city)
    for payer in (first, second):
        await paid_by(city, by_phone(city, payer.phone, amount_yen=1, idempotency_key="the same"))


async def ward_of(city: City, guardian: Resident) -> UUID:
    """Open a wallet with money that somebody is the guardian of, and return its id."""
    wallet_id = await make_payer(city, yen=20_000)
    row = {
        "guardian_id": guardian.id,
        "wallet_id": wallet_id,
        "kind": "child",
        "since": to_datetime(city.clock()),
    }
    await within(city.engine, lambda c: c.execute(guardianship.insert().values(row)))
    return wallet_id


@pytest.mark.attack(25)
async def test_one_pays_out_of_ones_own_wallet_and_ones_wards_and_no_other(city: City) -> None:
    payer, stranger = await make_rich(city), await make_rich(city)
    ward = await ward_of(city, payer)
    payment = await paid_by(city, by_phone(city, payer.phone, amount_yen=1_000, wallet_id=ward))
    assert (payment.wallet_id, payment.asked_by) == (ward, payer.id)
    own = by_phone(city, payer.phone, amount_yen=1_000, wallet_id=payer.wallet_id)
    assert (await paid_by(city, own)).wallet_id == payer.wallet_id
    for foreign in (ward, payer.wallet_id, uuid4()):
        request = by_phone(city, stranger.phone, amount_yen=1_000, wallet_id=foreign)
        assert await told(city, request) == Refusal("wallet_unknown")
    nobody = await make_phone(city.engine, now_us=city.clock())  # Of a member of staff, say.
    assert await told(city, by_phone(city, nobody, amount_yen=1)) == Refusal("wallet_unknown")


async def test_limits_freezes_and_cooling_off_hold_by_phone_too(city: City) -> None:
    payer = await make_rich(city)
    phone = payer.phone
    approved = await passed(city, phone, by_phone(city, phone, amount_yen=30_000))
    await change(
        city,
        "UPDATE device SET cooling_until = :until WHERE id = :id",
        until=to_datetime(city.clock() + 10**9),
        id=phone.device_id,
    )
    cools = Refusal("limit_cooling_off", {"limit_yen": 5_000})
    assert await refusal_of(city, approved) == cools
    over = by_phone(city, phone, amount_yen=30_001)
    assert await refusal_of(city, over) == Refusal("limit_payment", {"limit_yen": 30_000})
    request = by_phone(city, phone, amount_yen=1_000)
    await within(
        city.engine,
        lambda c: freeze(c, person_id=payer.id, because="own", now_us=city.clock()),
    )
    assert await refusal_of(city, request) == Refusal("wallet_frozen")
    assert await left_of(city, payer) == 30_000


@pytest.mark.parametrize("scope", ["pay", "tier:T1", "app-version:1.0.0", "merchant"])
async def test_stops_hold_by_phone_too(city: City, scope: str) -> None:
    payer = await make_rich(city)
    engaged = f"merchant:{city.merchant.id.hex}" if scope == "merchant" else scope
    await engage(city, engaged)
    try:
        request = by_phone(city, payer.phone, amount_yen=1_000)
        assert await told(city, request) == Refusal("service_stopped")
    finally:
        await release(city, engaged)
    await paid_by(city, again(city, payer.phone, request))


async def test_a_terminal_that_is_nowhere_is_unknown(city: City) -> None:
    payer = await make_rich(city)
    request = by_phone(city, payer.phone, amount_yen=1_000, terminal_id=uuid4())
    assert await told(city, request) == Refusal("terminal_unknown")


async def test_a_phone_that_asks_for_too_many_challenges_is_told_to_wait(city: City) -> None:
    payer = await make_rich(city)
    answers = await ask_at_once(city, [by_phone(city, payer.phone) for _ in range(31)])
    assert [isinstance(one, Challenged) for one in answers] == [True] * 30 + [False]
    assert isinstance(answers[30], Refused)
    assert answers[30].refusal.code == "push_too_often"


async def test_whatever_was_paid_by_phone_can_be_proved(city: City) -> None:
    await make_resident(city.engine)
    proof = await prove(city.engine, now_us=city.clock())
    assert proof.ok, failed(proof.checks)
