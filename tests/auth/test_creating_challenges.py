"""Challenges as they are made: only where something is enrolled, and never too many."""

import asyncio
from functools import partial
from uuid import uuid4

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.factories.challenges import (
    FIELDS,
    answer,
    challenge_to,
    code_of,
    draft,
    give_passkey,
    give_totp,
    pass_by_finger,
    requires,
    revoke,
    row_of,
    signed,
    write_down,
)
from tests.factories.moments import NOW_US
from tests.factories.phones import Phone, enrol, events_of, make_phone, sign_in
from tests.soft_device import SoftDevice
from wallet.auth.create_challenge import EXPIRES_S, PUSH_WINDOW_S, PUSHES_MAX
from wallet.auth.evidence import VerifiedKeySignature
from wallet.auth.pass_challenge import Passed
from wallet.auth.passkeys import revoke_passkey
from wallet.auth.queries import list_challenges
from wallet.auth.rules import Acr, Operation, op_hash
from wallet.core.clock import MICROSECONDS
from wallet.core.database import read, write
from wallet.core.refusals import Refusal, RefusedError


def later(seconds: float) -> int:
    """Return a moment after the tests' own."""
    return NOW_US + int(seconds * MICROSECONDS)


async def test_a_challenge_says_what_it_is_for_and_wakes_the_phone(
    engine: AsyncEngine, phone: Phone
) -> None:
    challenge = await challenge_to(engine, phone)
    row = await row_of(engine, challenge)
    assert row["op_hash"] == op_hash(FIELDS)
    assert row["required"] == ["pin"]
    assert row["summary"] == {"amount_yen": 12_000, "payee": "白鷺青果 本町店"}
    assert (row["expires_at"] - row["created_at"]).total_seconds() == EXPIRES_S
    body = {
        "challenge_id": str(challenge.id),
        "principal_id": str(phone.principal_id),
        "device_id": str(phone.device_id),
    }
    assert (await events_of(engine, phone.principal_id))[-1] == ("step_up.requested", body)


@pytest.mark.asvs("v5.0.0-6.7.2")
async def test_one_operation_asked_twice_is_two_challenges(
    engine: AsyncEngine, phone: Phone
) -> None:
    challenges = [await challenge_to(engine, phone) for _ in range(5)]
    assert len({challenge.challenge for challenge in challenges}) == 5
    assert {len(challenge.nonce) for challenge in challenges} == {32}


@pytest.mark.attack(11)
@pytest.mark.asvs("v5.0.0-16.5.3")
@pytest.mark.parametrize("level", [Acr.PIN, Acr.OTP, Acr.PHR, Acr.JPKI])
async def test_nobody_is_let_through_because_nothing_is_enrolled(
    engine: AsyncEngine, level: Acr
) -> None:
    soft, principal_id = SoftDevice(), uuid4()
    enrolled = await enrol(engine, soft, principal_id, verified_key=None)
    tokens = await sign_in(engine, principal_id, enrolled.device_id)
    bare = Phone(principal_id=principal_id, device_id=enrolled.device_id, tokens=tokens, soft=soft)
    with pytest.raises(RefusedError) as refused:
        await challenge_to(engine, bare, level)
    assert refused.value.refusal == Refusal("factor_not_enrolled", {"acr_values": [level]})
    # What the door can offer beyond is another matter.
    offered = await challenge_to(engine, bare, level, offered=frozenset(Acr))
    assert offered.required == (level,)


async def test_each_enrolled_factor_makes_its_level_possible(
    engine: AsyncEngine, phone: Phone
) -> None:
    with pytest.raises(RefusedError):
        await challenge_to(engine, phone, Acr.OTP)
    await give_totp(engine, phone)
    await challenge_to(engine, phone, Acr.OTP)
    with pytest.raises(RefusedError):
        await challenge_to(engine, phone, Acr.PHR)
    await give_passkey(engine, phone)
    await challenge_to(engine, phone, Acr.PHR)
    await challenge_to(engine, phone, Acr.OTP, Acr.PHR)


async def test_what_was_revoked_makes_no_level_possible(engine: AsyncEngine, phone: Phone) -> None:
    other = await make_phone(engine, principal_id=phone.principal_id)
    for device in (phone, other):
        await challenge_to(engine, device)
        await revoke(engine, device)
    with pytest.raises(RefusedError, match="factor_not_enrolled"):
        await challenge_to(engine, phone)
    passkey = await give_passkey(engine, phone)
    await challenge_to(engine, phone, Acr.PHR)
    await write(
        engine,
        partial(
            revoke_passkey,
            principal_id=phone.principal_id,
            credential_id=passkey.credential_id,
            now_us=NOW_US,
        ),
    )
    with pytest.raises(RefusedError, match="factor_not_enrolled"):
        await challenge_to(engine, phone, Acr.PHR)


@pytest.mark.attack(12)
@pytest.mark.asvs("v5.0.0-6.6.4")
@pytest.mark.parametrize("number", [None, "", "{other}", "{shown} ", "0{shown}", "あ", "\ud800"])
async def test_a_push_is_answered_with_the_number_on_the_other_screen(
    engine: AsyncEngine, phone: Phone, number: str | None
) -> None:
    challenge = await challenge_to(engine, phone, push=True)
    shown = challenge.number_match
    assert shown is not None
    wrong = number and number.format(shown=shown, other=f"{(int(shown) + 1) % 100:02}")
    finger = signed(phone, challenge)
    refused = await answer(engine, phone, challenge, finger, number=wrong)
    assert code_of(refused) == "step_up_failed"
    assert isinstance(await answer(engine, phone, challenge, finger, number=shown), Passed)


@pytest.mark.attack(12)
async def test_the_right_number_without_the_factor_passes_nothing(
    engine: AsyncEngine, phone: Phone
) -> None:
    challenge = await challenge_to(engine, phone, push=True)
    number = challenge.number_match
    wrong = VerifiedKeySignature(b"\x01" * 64)
    refused = await answer(engine, phone, challenge, wrong, number=number)
    assert code_of(refused) == "step_up_failed"


@pytest.mark.attack(12)
@pytest.mark.asvs("v5.0.0-6.6.4")
async def test_nobody_is_pushed_a_fourth_time_in_ten_minutes(
    engine: AsyncEngine, phone: Phone
) -> None:
    answers = await asyncio.gather(
        *[challenge_to(engine, phone, push=True) for _ in range(8)], return_exceptions=True
    )
    refused = [one.refusal for one in answers if isinstance(one, RefusedError)]
    assert len(answers) - len(refused) == PUSHES_MAX
    assert set(map(repr, refused)) == {
        repr(Refusal("push_too_often", {"retry_after_s": PUSH_WINDOW_S}))
    }
    await challenge_to(engine, phone)
    await challenge_to(engine, phone, push=True, now_us=later(PUSH_WINDOW_S))


async def test_a_phone_lists_the_challenges_that_wait_for_it_without_their_numbers(
    engine: AsyncEngine, phone: Phone
) -> None:
    other = await make_phone(engine, principal_id=phone.principal_id)
    mine = await challenge_to(engine, phone, push=True)
    to_any = await challenge_to(engine, phone, device_id=None)
    passed = await challenge_to(engine, phone)
    await pass_by_finger(engine, phone, passed)
    async with read(engine) as connection:
        ask = partial(list_challenges, connection, principal_id=phone.principal_id)
        here = await ask(device_id=phone.device_id, now_us=NOW_US)
        there = await ask(device_id=other.device_id, now_us=NOW_US)
        browser = await ask(device_id=None, now_us=NOW_US)
        afterwards = await ask(device_id=phone.device_id, now_us=later(EXPIRES_S))
    assert {one.id: one.asks_number for one in here} == {mine.id: True, to_any.id: False}
    assert [one.id for one in there] == [one.id for one in browser] == [to_any.id]
    assert afterwards == []
    assert {one.challenge for one in here} == {mine.challenge, to_any.challenge}
    assert {one.operation for one in here} == {Operation.SHOP}
    assert mine.number_match is not None
    assert f'"{mine.number_match}"' not in repr(here)


async def test_a_requirement_of_nothing_makes_no_challenge(
    engine: AsyncEngine, phone: Phone
) -> None:
    empty = draft(phone, requirement=requires())
    for offered in (frozenset[Acr](), frozenset(Acr)):
        with pytest.raises(RefusedError, match="factor_not_enrolled"):
            await write_down(engine, empty, offered=offered)
