"""Freezing holds at once and takes little; thawing cools off."""

from uuid import uuid4

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.factories.moments import NOW_US, PEPPER
from tests.factories.phones import call, events_of
from tests.factories.residents import (
    Resident,
    contact,
    make_resident,
    make_visitor,
    person_of,
    within,
)
from wallet.core.refusals import Refusal, RefusedError
from wallet.people.freeze import WRONG, Because, freeze, freeze_by_support, unfreeze
from wallet.people.rules import read_support_code


async def frozen(engine: AsyncEngine, resident: Resident, because: Because = "own") -> bool:
    """Freeze somebody."""
    return await within(
        engine,
        lambda connection: freeze(
            connection, person_id=resident.id, because=because, now_us=NOW_US
        ),
    )


async def frozen_by_support(
    engine: AsyncEngine, support_code: str, email: str, *, address: str | None = None
) -> object:
    """Freeze whom a caller names."""
    return await within(
        engine,
        lambda connection: freeze_by_support(
            connection,
            support_code=read_support_code(support_code) or "",
            contact=contact(email),
            address=address,
            pepper=PEPPER,
            now_us=NOW_US,
        ),
    )


async def test_one_tap_freezes_and_leaves_the_phone_signed_in(city: AsyncEngine) -> None:
    resident = await make_resident(city)
    assert await frozen(city, resident)
    assert not await frozen(city, resident)
    person = await person_of(city, resident.id)
    assert (person.state, person.frozen_because) == ("frozen", "own")
    assert not isinstance(await call(city, resident.phone), Refusal)
    assert [kind for kind, _ in await events_of(city, resident.id)].count("person.frozen") == 1


@pytest.mark.parametrize("because", ["support", "counter"])
async def test_a_freeze_from_outside_signs_the_phone_out(
    city: AsyncEngine, because: Because
) -> None:
    resident = await make_resident(city)
    await frozen(city, resident, because)
    assert await call(city, resident.phone) == Refusal("unauthenticated")


async def test_who_thaws_cools_off(city: AsyncEngine) -> None:
    resident = await make_resident(city)
    await frozen(city, resident)
    thaw = unfreeze
    assert await within(
        city, lambda connection: thaw(connection, person_id=resident.id, now_us=NOW_US)
    )
    assert not await within(
        city, lambda connection: thaw(connection, person_id=resident.id, now_us=NOW_US)
    )
    person = await person_of(city, resident.id)
    assert (person.state, person.frozen_because) == ("active", None)
    assert person.cools_off(now_us=NOW_US)


async def test_somebody_without_a_phone_is_frozen_by_code_and_contact(city: AsyncEngine) -> None:
    visitor = await make_visitor(city, "lost@example.jp")
    code = (await person_of(city, visitor.id)).support_code
    spoken = f"{code[:4]}-{code[4:]}".lower()
    assert await frozen_by_support(city, spoken, "LOST@example.jp") == visitor.id
    assert (await person_of(city, visitor.id)).frozen_because == "support"


@pytest.mark.attack(4)
async def test_a_code_that_is_nobodys_is_refused_like_a_contact_that_does_not_fit(
    city: AsyncEngine,
) -> None:
    visitor = await make_visitor(city, "kept@example.jp")
    code = (await person_of(city, visitor.id)).support_code
    assert await frozen_by_support(city, code, "other@example.jp") == WRONG
    assert await frozen_by_support(city, "22222222", "kept@example.jp") == WRONG
    assert (await person_of(city, visitor.id)).state == "active"


@pytest.mark.attack(8)
async def test_support_codes_are_not_guessed_for_long(city: AsyncEngine) -> None:
    answers = [
        await frozen_by_support(city, "33333333", "kept@example.jp", address="192.0.2.1")
        for _ in range(6)
    ]
    assert answers[:5] == [WRONG] * 5
    assert isinstance(answers[5], Refusal)
    assert answers[5].code == "too_many_tries"


async def test_nobody_is_frozen_who_is_not_there(city: AsyncEngine) -> None:

    with pytest.raises(RefusedError, match="person_unknown"):
        await within(
            city,
            lambda connection: freeze(connection, person_id=uuid4(), because="own", now_us=NOW_US),
        )
