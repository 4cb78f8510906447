"""Enrolment makes somebody new, and never opens what is somebody's already."""

import asyncio
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.factories.moments import NOW_US, PEPPER
from tests.factories.phones import caller_of, events_of
from tests.factories.residents import (
    asker,
    contact,
    make_resident,
    make_visitor,
    message_of,
    person_of,
    row_of,
    sent,
    within,
)
from tests.soft_device import SoftDevice
from wallet.core.clock import MICROSECONDS
from wallet.core.database import read
from wallet.core.refusals import Refusal, RefusedError
from wallet.people.contact_codes import EXPIRES_S, WRONG, send_code, use_code
from wallet.people.enrol import FirstDevice, Newcomer, enrol_device_person, enrol_visitor
from wallet.people.rules import Contact, Tier

WALLET = """
SELECT holder, state, tier, payment_limit_yen, daily_limit_yen, s.spent_yen
FROM wallet JOIN spending AS s ON s.holder_id = wallet.id WHERE person_id = :person_id
"""


async def try_code(
    engine: AsyncEngine, code_id: UUID, code: str, soft: SoftDevice, *, now_us: int = NOW_US
) -> Contact | Refusal:
    """Use a code."""
    return await within(
        engine,
        lambda connection: use_code(
            connection, code_id=code_id, code=code, asker=asker(soft), pepper=PEPPER, now_us=now_us
        ),
    )


def wrong(code: str | None) -> str:
    """Return a code that differs from this one."""
    return "000000" if code != "000000" else "000001"


async def test_a_visitor_gets_a_wallet_of_the_lowest_tier(city: AsyncEngine) -> None:
    visitor = await make_visitor(city, "visitor@example.jp")
    wallet = await row_of(city, WALLET, person_id=visitor.id)
    assert tuple(wallet.values()) == ("visitor", "active", "T0", 10_000, 10_000, 0)
    assert (await person_of(city, visitor.id)).tier is Tier.VISITOR
    assert (await caller_of(city, visitor.phone)).principal_id == visitor.id


async def test_a_phone_with_a_finger_or_a_pin_gets_the_next_tier(city: AsyncEngine) -> None:
    resident = await make_resident(city, pin=None)
    with_pin = await make_visitor(city, "with-pin@example.jp", pin="270519")
    assert resident.tier is with_pin.tier is Tier.DEVICE
    wallet = await row_of(city, WALLET, person_id=resident.id)
    assert tuple(wallet.values()) == ("visitor", "active", "T1", 30_000, 50_000, 0)


async def test_who_enrols_is_told_of_once_and_cools_nothing_off(city: AsyncEngine) -> None:
    resident = await make_resident(city)
    kinds = [kind for kind, _ in await events_of(city, resident.id)]
    assert kinds.count("person.enrolled") == 1
    assert "security.sign_in_changed" not in kinds
    assert (await person_of(city, resident.id)).cooling_until is None


async def enrol_by_device(
    engine: AsyncEngine,
    soft: SoftDevice,
    **changes: Any,  # noqa: ANN401 - fields of many types
) -> Newcomer | Refusal:
    """Enrol a phone, as its door does."""
    device = FirstDevice(new=soft.new_device(**changes))
    return await within(
        engine,
        lambda connection: enrol_device_person(
            connection, device=device, address=None, pepper=PEPPER, now_us=NOW_US
        ),
    )


async def test_a_phone_that_shows_only_possession_needs_a_contact(city: AsyncEngine) -> None:
    with pytest.raises(RefusedError, match="factor_missing"):
        await enrol_by_device(city, SoftDevice(), verified_key=None)


async def test_a_phone_that_is_somebodys_opens_nothing(city: AsyncEngine) -> None:
    resident = await make_resident(city)
    with pytest.raises(RefusedError, match="device_key_taken"):
        await enrol_by_device(city, resident.phone.soft)


@pytest.mark.attack(4)
@pytest.mark.asvs("v5.0.0-6.3.8")
async def test_a_known_contact_is_asked_for_like_an_unknown_one(city: AsyncEngine) -> None:
    await make_visitor(city, "known@example.jp")
    soft = SoftDevice()
    known = await sent(city, "Known+tag@example.jp", soft)
    unknown = await sent(city, "unknown@example.jp", soft)
    told = await message_of(city, known)
    assert (told.to, told.code) == ("Known+tag@example.jp", None)
    assert (await message_of(city, unknown)).code is not None
    # No code fits the number that was given out, and it is refused in the same words.
    for code_id in (known, unknown):
        code = wrong((await message_of(city, code_id)).code)
        assert await try_code(city, code_id, code, soft) == WRONG


@pytest.mark.attack(8)
@pytest.mark.asvs("v5.0.0-6.5.1")
async def test_a_code_works_once(city: AsyncEngine) -> None:
    soft = SoftDevice()
    code_id = await sent(city, "once@example.jp", soft)
    code = (await message_of(city, code_id)).code or ""
    answers = await asyncio.gather(*(try_code(city, code_id, code, soft) for _ in range(5)))
    assert answers.count(contact("once@example.jp")) == 1
    assert answers.count(WRONG) == 4


@pytest.mark.attack(8)
@pytest.mark.asvs("v5.0.0-6.6.3")
async def test_a_code_is_dead_after_five_wrong_tries_however_many_come_at_once(
    city: AsyncEngine,
) -> None:
    soft = SoftDevice()
    code_id = await sent(city, "guessed@example.jp", soft)
    code = (await message_of(city, code_id)).code or ""
    await asyncio.gather(*(try_code(city, code_id, wrong(code), soft) for _ in range(12)))
    row = await row_of(city, "SELECT failures FROM contact_code WHERE id = :id", id=code_id)
    assert row["failures"] == 5
    assert await try_code(city, code_id, code, soft) == WRONG


async def test_a_code_is_good_to_the_last_try(city: AsyncEngine) -> None:
    soft = SoftDevice()
    code_id = await sent(city, "last-try@example.jp", soft)
    code = (await message_of(city, code_id)).code or ""
    for _ in range(4):
        assert await try_code(city, code_id, wrong(code), soft) == WRONG
    assert await try_code(city, code_id, code, soft) == contact("last-try@example.jp")


@pytest.mark.asvs("v5.0.0-6.5.5")
async def test_a_code_is_too_old_after_ten_minutes(city: AsyncEngine) -> None:
    soft = SoftDevice()
    code_id = await sent(city, "late@example.jp", soft)
    code = (await message_of(city, code_id)).code or ""
    late_us = NOW_US + EXPIRES_S * MICROSECONDS
    assert await try_code(city, code_id, code, soft, now_us=late_us) == WRONG


@pytest.mark.attack(7)
@pytest.mark.attack("A2")
@pytest.mark.asvs("v5.0.0-6.6.2")
async def test_a_code_that_was_talked_out_of_somebody_is_worth_nothing_elsewhere(
    city: AsyncEngine,
) -> None:
    soft = SoftDevice()
    code_id = await sent(city, "phished@example.jp", soft)
    code = (await message_of(city, code_id)).code or ""
    assert await try_code(city, code_id, code, SoftDevice()) == WRONG
    assert await try_code(city, code_id, code, soft) == contact("phished@example.jp")


async def test_of_two_who_show_one_contact_the_second_is_refused(city: AsyncEngine) -> None:
    phones = SoftDevice(), SoftDevice()
    code_ids = [await sent(city, "both@example.jp", soft) for soft in phones]
    codes = [(await message_of(city, code_id)).code or "" for code_id in code_ids]

    async def enrol(number: int) -> Newcomer | Refusal:
        soft = phones[number]
        return await within(
            city,
            lambda connection: enrol_visitor(
                connection,
                code_id=code_ids[number],
                code=codes[number],
                device=FirstDevice(new=soft.new_device()),
                asker=asker(soft),
                pepper=PEPPER,
                now_us=NOW_US,
            ),
        )

    answers = await asyncio.gather(enrol(0), enrol(1), return_exceptions=True)
    assert sorted(type(one).__name__ for one in answers) == ["Newcomer", "RefusedError"]
    (refused,) = [one for one in answers if isinstance(one, RefusedError)]
    assert refused.refusal.code == "contact_in_use"


@pytest.mark.asvs("v5.0.0-2.4.1")
async def test_nobody_is_sent_more_than_a_few_messages_an_hour(city: AsyncEngine) -> None:
    async def ask() -> UUID | Refusal:
        soft = SoftDevice()
        return await within(
            city,
            lambda connection: send_code(
                connection,
                to=contact("pestered@example.jp"),
                asker=asker(soft),
                pepper=PEPPER,
                now_us=NOW_US,
            ),
        )

    answers = [await ask() for _ in range(7)]
    assert sum(isinstance(one, UUID) for one in answers) == 5
    last = answers[-1]
    assert isinstance(last, Refusal)
    assert last.code == "too_many_tries"


@pytest.mark.asvs("v5.0.0-14.2.6")
@pytest.mark.asvs("v5.0.0-14.2.4")
async def test_nothing_that_is_kept_says_who_somebody_is(city: AsyncEngine) -> None:
    await make_visitor(city, "secret.name@example.jp")
    tables = ("person", "contact", "contact_code", "outbox", "device", "attempt", "wallet")
    async with read(city) as connection:
        for table in tables:
            rows = (await connection.execute(text(f"SELECT t::text FROM {table} AS t"))).scalars()  # noqa: S608 - our tables
            told = " ".join(rows)
            assert "secret.name" not in told
            assert b"secret.name".hex() not in told
