"""Challenges: who may answer one, with what, how often, and what an answer is worth."""

import asyncio
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest
from msgspec.structs import replace
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.factories.challenges import (
    FIELDS,
    PIN,
    SITE,
    answer,
    challenge_to,
    code_of,
    give_passkey,
    give_totp,
    pass_by_finger,
    revoke,
    row_of,
    signed,
    typed,
)
from tests.factories.moments import NOW_US, PEPPER
from tests.factories.phones import Phone, call, caller_of, make_phone, sign_in
from tests.soft_authenticator import SoftAuthenticator
from wallet.auth.authenticate import Caller
from wallet.auth.create_challenge import EXPIRES_S
from wallet.auth.evidence import PasskeyAnswer, ProofingDone, TotpEntered, VerifiedKeySignature
from wallet.auth.pass_challenge import FAILURES_MAX, Passed
from wallet.auth.passkeys import begin_passkey_assertion
from wallet.auth.revoke_sessions import revoke_sessions
from wallet.auth.rules import Acr, FactorClass, Method, show
from wallet.core.clock import MICROSECONDS
from wallet.core.database import write
from wallet.core.refusals import Refusal

POSSESSION, INHERENCE = FactorClass.POSSESSION, FactorClass.INHERENCE


def later(seconds: float) -> int:
    """Return a moment after the tests' own."""
    return NOW_US + int(seconds * MICROSECONDS)


async def fresh_caller(engine: AsyncEngine, phone: Phone, *, seconds: float) -> Caller:
    """Return who the phone's requests come from when its PIN of signing in has grown old."""
    tokens = await sign_in(engine, phone.principal_id, phone.device_id)
    caller = await call(engine, phone, token=tokens.access_token, now_us=later(seconds))
    assert isinstance(caller, Caller)
    return caller


@pytest.mark.asvs("v5.0.0-7.5.3")
async def test_a_finger_on_the_phone_passes(engine: AsyncEngine, phone: Phone) -> None:
    challenge = await challenge_to(engine, phone)
    caller = await fresh_caller(engine, phone, seconds=0)
    passed = await answer(engine, phone, challenge, signed(phone, challenge), caller=caller)
    assert isinstance(passed, Passed)
    assert (passed.challenge_id, passed.acr) == (challenge.id, Acr.PIN)
    row = await row_of(engine, challenge)
    assert (row["passed_acr"], row["failures"], row["consumed_at"]) == ("pin", 0, None)


async def test_what_was_shown_is_kept_by_its_classes(engine: AsyncEngine, phone: Phone) -> None:
    challenge = await challenge_to(engine, phone, now_us=later(400))
    caller = await fresh_caller(engine, phone, seconds=400)
    passed = await answer(
        engine, phone, challenge, signed(phone, challenge), caller=caller, now_us=later(400)
    )
    assert isinstance(passed, Passed)
    assert passed.classes == (INHERENCE, POSSESSION)
    assert (await row_of(engine, challenge))["classes"] == ["inherence", "possession"]


async def test_the_pin_passes_and_a_wrong_one_is_counted(engine: AsyncEngine, phone: Phone) -> None:
    challenge = await challenge_to(engine, phone)
    wrong = await answer(engine, phone, challenge, typed("183627"))
    assert wrong == Refusal("step_up_failed", {"tries_left": FAILURES_MAX - 1})
    assert isinstance(await answer(engine, phone, challenge, typed()), Passed)


@pytest.mark.attack(20)
async def test_a_signature_for_another_operation_passes_nothing(
    engine: AsyncEngine, phone: Phone
) -> None:
    cheap = await challenge_to(engine, phone, fields={**FIELDS, "amount": 11_999})
    dear = await challenge_to(engine, phone)
    assert code_of(await answer(engine, phone, dear, signed(phone, cheap))) == "step_up_failed"
    assert isinstance(await answer(engine, phone, cheap, signed(phone, cheap)), Passed)


async def test_a_signature_by_the_device_key_is_not_the_second_keys(
    engine: AsyncEngine, phone: Phone
) -> None:
    challenge = await challenge_to(engine, phone)
    forged = VerifiedKeySignature(phone.soft.key.sign(challenge.challenge))
    assert code_of(await answer(engine, phone, challenge, forged)) == "step_up_failed"


@pytest.mark.attack(25)
@pytest.mark.asvs("v5.0.0-8.2.2")
async def test_another_persons_challenge_is_no_challenge(engine: AsyncEngine, phone: Phone) -> None:
    stranger = await make_phone(engine)
    challenge = await challenge_to(engine, phone)
    to_any = await challenge_to(engine, phone, device_id=None)
    # Even with the owner's own signature in hand.
    answers = [
        await answer(engine, stranger, challenge, signed(phone, challenge)),
        await answer(engine, stranger, challenge, signed(stranger, challenge)),
        await answer(engine, stranger, to_any, signed(stranger, to_any)),
        await answer(engine, stranger, replace(challenge, id=uuid4()), signed(phone, challenge)),
    ]
    assert answers == [Refusal("step_up_unknown")] * 4
    for untouched in (challenge, to_any):
        row = await row_of(engine, untouched)
        assert (row["failures"], row["passed_at"]) == (0, None)


async def test_a_challenge_to_one_phone_is_not_answered_by_another(
    engine: AsyncEngine, phone: Phone
) -> None:
    other = await make_phone(engine, principal_id=phone.principal_id)
    challenge = await challenge_to(engine, phone)
    refused = await answer(engine, other, challenge, signed(other, challenge))
    assert refused == Refusal("step_up_unknown")
    to_any = await challenge_to(engine, phone, device_id=None)
    assert isinstance(await answer(engine, other, to_any, signed(other, to_any)), Passed)


@pytest.mark.parametrize(("seconds", "good"), [(EXPIRES_S - 1, True), (EXPIRES_S, False)])
async def test_a_challenge_is_answered_within_two_minutes(
    engine: AsyncEngine, phone: Phone, seconds: int, *, good: bool
) -> None:
    challenge = await challenge_to(engine, phone)
    answered = await answer(
        engine, phone, challenge, signed(phone, challenge), now_us=later(seconds)
    )
    assert answered == Refusal("step_up_expired") or good
    assert isinstance(answered, Passed) is good


async def test_a_challenge_is_passed_once(engine: AsyncEngine, phone: Phone) -> None:
    challenge = await challenge_to(engine, phone)
    answers = await asyncio.gather(
        *[answer(engine, phone, challenge, signed(phone, challenge)) for _ in range(6)]
    )
    assert sum(isinstance(one, Passed) for one in answers) == 1
    assert answers.count(Refusal("step_up_passed")) == 5


@pytest.mark.attack(8)
@pytest.mark.asvs("v5.0.0-6.6.3")
async def test_five_wrong_answers_kill_a_challenge_however_many_come_at_once(
    engine: AsyncEngine, phone: Phone
) -> None:
    challenge = await challenge_to(engine, phone)
    caller = await caller_of(engine, phone)
    wrong = VerifiedKeySignature(b"\x01" * 64)
    answers = await asyncio.gather(
        *[answer(engine, phone, challenge, wrong, caller=caller) for _ in range(50)]
    )
    left = sorted(
        one.facts["tries_left"] for one in answers if isinstance(one, Refusal) and one.facts
    )
    assert left == [0, 1, 2, 3, 4]
    assert answers.count(Refusal("step_up_dead")) == 45
    late = await answer(engine, phone, challenge, signed(phone, challenge))
    assert late == Refusal("step_up_dead")


@pytest.mark.attack(8)
async def test_new_challenges_give_no_further_guesses_at_the_pin(
    engine: AsyncEngine, phone: Phone
) -> None:
    codes = []
    for pin in ("183620", "183621", "183622", "183623", "183624", "183625", PIN):
        challenge = await challenge_to(engine, phone)
        codes.append(code_of(await answer(engine, phone, challenge, typed(pin))))
    assert codes == ["step_up_failed"] * 5 + ["too_many_tries"] * 2


@pytest.mark.attack(2)
async def test_a_pin_is_not_looked_at_where_it_could_not_suffice(
    engine: AsyncEngine, phone: Phone
) -> None:
    await give_passkey(engine, phone)
    challenge = await challenge_to(engine, phone, Acr.PHR)
    answers = {repr(await answer(engine, phone, challenge, typed(pin))) for pin in (PIN, "183627")}
    assert len(answers) == 1
    assert "step_up_insufficient" in answers.pop()
    assert (await row_of(engine, challenge))["failures"] == 0


async def test_the_pin_of_a_phone_means_nothing_without_its_session(
    engine: AsyncEngine, phone: Phone
) -> None:
    challenge = await challenge_to(engine, phone, device_id=None)
    caller = await caller_of(engine, phone)
    browser = replace(caller, device_id=None)
    for evidence in (typed(), signed(phone, challenge)):
        refused = await answer(engine, phone, challenge, evidence, caller=browser)
        assert code_of(refused) == "step_up_failed"


# Codes, passkeys, the identity app.


async def ask_passkey(
    engine: AsyncEngine, principal_id: UUID, passkey: SoftAuthenticator, challenge: bytes
) -> PasskeyAnswer:
    """Return what a passkey answers."""
    begin = partial(
        begin_passkey_assertion, site=SITE, principal_id=principal_id, challenge=challenge
    )
    return PasskeyAnswer(passkey.get(await write(engine, begin)), SITE)


@pytest.mark.attack(9)
@pytest.mark.attack(10)
@pytest.mark.asvs("v5.0.0-6.5.1")
async def test_a_code_passes_beside_a_fresh_pin_only_and_once(
    engine: AsyncEngine, phone: Phone
) -> None:
    app = await give_totp(engine, phone)
    alone = await fresh_caller(engine, phone, seconds=400)
    beside = replace(alone, classes=(*alone.classes, *show(Method.PIN, at_us=later(390))))
    evidence = TotpEntered(app.at(later(400) // MICROSECONDS), None, PEPPER)
    answers = []
    for caller in (alone, beside, beside):
        challenge = await challenge_to(engine, phone, Acr.OTP, now_us=later(400))
        answers.append(
            await answer(engine, phone, challenge, evidence, caller=caller, now_us=later(400))
        )
    assert code_of(answers[0]) == "step_up_insufficient"
    assert isinstance(answers[1], Passed)
    assert code_of(answers[2]) == "step_up_failed"


@pytest.mark.attack(7)
@pytest.mark.asvs("v5.0.0-6.6.2")
async def test_a_passkey_passes_for_the_operation_it_was_shown_and_no_other(
    engine: AsyncEngine, phone: Phone
) -> None:
    passkey = await give_passkey(engine, phone)
    cheap = await challenge_to(engine, phone, Acr.PHR, fields={**FIELDS, "amount": 1})
    dear = await challenge_to(engine, phone, Acr.PHR)
    answered = await ask_passkey(engine, phone.principal_id, passkey, cheap.challenge)
    assert code_of(await answer(engine, phone, dear, answered)) == "step_up_failed"
    passed = await answer(engine, phone, cheap, answered)
    assert isinstance(passed, Passed)
    assert passed.acr is Acr.PHR


@pytest.mark.attack(7)
async def test_a_phishing_pages_passkey_answer_passes_nothing(
    engine: AsyncEngine, phone: Phone
) -> None:
    passkey = await give_passkey(engine, phone)
    challenge = await challenge_to(engine, phone, Acr.PHR)
    passkey.origin = "https://wallet-example.jp.evil.example"
    answered = await ask_passkey(engine, phone.principal_id, passkey, challenge.challenge)
    assert code_of(await answer(engine, phone, challenge, answered)) == "step_up_failed"


@pytest.mark.attack(7)
async def test_the_passkey_of_signing_in_approves_no_operation(
    engine: AsyncEngine, phone: Phone
) -> None:
    await give_passkey(engine, phone)
    caller = await caller_of(engine, phone)
    for method in (Method.PASSKEY, Method.IDENTITY_APP, Method.COUNTER):
        signed_in = replace(caller, classes=(*caller.classes, *show(method, at_us=NOW_US)))
        challenge = await challenge_to(engine, phone, Acr.PHR)
        refused = await answer(engine, phone, challenge, typed(), caller=signed_in)
        assert code_of(refused) == "step_up_insufficient"


@pytest.mark.asvs("v5.0.0-6.8.4")
async def test_a_proofing_is_of_its_operation_and_its_person(
    engine: AsyncEngine, phone: Phone
) -> None:
    challenge = await challenge_to(engine, phone, Acr.JPKI, offered=frozenset({Acr.JPKI}))
    done = ProofingDone(Method.IDENTITY_APP, phone.principal_id, challenge.challenge)
    for wrong in (replace(done, principal_id=uuid4()), replace(done, challenge=bytes(32))):
        assert code_of(await answer(engine, phone, challenge, wrong)) == "step_up_failed"
    passed = await answer(engine, phone, challenge, done)
    assert isinstance(passed, Passed)
    assert passed.acr is Acr.JPKI


# Ending them.


async def freeze(engine: AsyncEngine, phone: Phone) -> None:
    """End all sessions of a phone's owner."""
    work = partial(
        revoke_sessions, principal_id=phone.principal_id, because="frozen", now_us=NOW_US
    )
    await write(engine, work)


@pytest.mark.attack(5)
@pytest.mark.parametrize("end", [revoke, freeze])
async def test_what_was_passed_on_a_lost_phone_ends_with_it(
    engine: AsyncEngine,
    phone: Phone,
    end: Any,  # noqa: ANN401 - one of two functions
) -> None:
    passed, waiting = await challenge_to(engine, phone), await challenge_to(engine, phone)
    await pass_by_finger(engine, phone, passed)
    caller = await caller_of(engine, phone)
    await end(engine, phone)
    for challenge in (passed, waiting):
        row = await row_of(engine, challenge)
        assert row["expires_at"] <= row["created_at"]
    late = await answer(engine, phone, waiting, signed(phone, waiting), caller=caller)
    assert late == Refusal("step_up_expired")
