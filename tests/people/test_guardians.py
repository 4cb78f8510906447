"""Guardians hold the wallets of children and of people without a phone, by the counter's word."""

from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.factories.moments import NOW_US
from tests.factories.phones import events_of
from tests.factories.residents import Resident, make_resident, person_of, row_of, within
from wallet.core.clock import MICROSECONDS
from wallet.core.database import read
from wallet.core.refusals import RefusedError
from wallet.people.counter import open_at_counter, raise_at_counter
from wallet.people.freeze import freeze
from wallet.people.guardians import add_guardianship, end_guardianship
from wallet.people.persons import Opened
from wallet.people.queries import Role, list_reach
from wallet.people.rules import Tier
from wallet.people.tiers import tiers


async def make_ward(engine: AsyncEngine) -> Opened:
    """Open a child's wallet at the counter."""
    return await within(
        engine, lambda connection: open_at_counter(connection, resident=True, now_us=NOW_US)
    )


async def make_guardian(engine: AsyncEngine) -> Resident:
    """Enrol somebody whom the counter has seen."""
    resident = await make_resident(engine)
    await within(
        engine,
        lambda connection: raise_at_counter(
            connection, person_id=resident.id, resident=True, now_us=NOW_US
        ),
    )
    return resident


async def added(
    engine: AsyncEngine, guardian: Resident, wallet_id: UUID, *, now_us: int = NOW_US
) -> bool:
    """Give a wallet a guardian."""
    return await within(
        engine,
        lambda connection: add_guardianship(
            connection, guardian_id=guardian.id, wallet_id=wallet_id, kind="child", now_us=now_us
        ),
    )


async def ended(engine: AsyncEngine, guardian: Resident, wallet_id: UUID) -> bool:
    """End a guardianship."""
    return await within(
        engine,
        lambda connection: end_guardianship(
            connection, guardian_id=guardian.id, wallet_id=wallet_id, now_us=NOW_US
        ),
    )


async def roles_of(engine: AsyncEngine, guardian: Resident) -> dict[UUID, Role]:
    """Return as whom somebody reaches which wallet."""
    async with read(engine) as connection:
        reach = await list_reach(connection, person_id=guardian.id)
    return {one.wallet_id: one.role for one in reach}


async def test_the_counter_opens_and_raises_people_it_has_seen(city: AsyncEngine) -> None:
    ward, guardian = await make_ward(city), await make_guardian(city)
    for person_id in (ward.person_id, guardian.id):
        person = await person_of(city, person_id)
        assert (person.tier, person.resident) == (Tier.COUNTER, True)
        wallet = await row_of(
            city,
            "SELECT holder, tier, daily_limit_yen FROM wallet WHERE person_id = :id",
            id=person_id,
        )
        assert tuple(wallet.values()) == ("resident", "T3", 300_000)


async def test_a_guardian_pays_out_of_the_wallet_of_a_ward(city: AsyncEngine) -> None:
    ward, guardian = await make_ward(city), await make_guardian(city)
    assert await added(city, guardian, ward.wallet_id)
    assert not await added(city, guardian, ward.wallet_id)
    assert await roles_of(city, guardian) == {
        ward.wallet_id: Role.GUARDIAN,
        guardian.wallet_id: Role.OWN,
    }
    async with read(city) as connection:
        (reach,) = [
            one
            for one in await list_reach(connection, person_id=guardian.id)
            if one.wallet_id == ward.wallet_id
        ]
    assert reach.may_pay(now_us=NOW_US)
    assert reach.holder_id == ward.wallet_id
    assert "guardianship.added" in dict(await events_of(city, guardian.id))


async def test_it_ends_and_may_begin_again(city: AsyncEngine) -> None:
    ward, guardian = await make_ward(city), await make_guardian(city)
    await added(city, guardian, ward.wallet_id)
    assert await ended(city, guardian, ward.wallet_id)
    assert not await ended(city, guardian, ward.wallet_id)
    assert ward.wallet_id not in await roles_of(city, guardian)
    assert await added(city, guardian, ward.wallet_id, now_us=NOW_US + MICROSECONDS)
    assert ward.wallet_id in await roles_of(city, guardian)


async def test_only_who_was_proven_and_is_not_frozen_becomes_a_guardian(
    city: AsyncEngine,
) -> None:
    ward, guardian = await make_ward(city), await make_guardian(city)
    with pytest.raises(RefusedError, match="guardian_not_proven"):
        await added(city, await make_resident(city), ward.wallet_id)
    await within(
        city,
        lambda connection: freeze(
            connection, person_id=guardian.id, because="counter", now_us=NOW_US
        ),
    )
    with pytest.raises(RefusedError, match="guardian_not_proven"):
        await added(city, guardian, ward.wallet_id)


async def test_nobody_is_their_own_guardian_or_that_of_nobody(city: AsyncEngine) -> None:
    guardian = await make_guardian(city)
    with pytest.raises(RefusedError, match="guardian_of_self"):
        await added(city, guardian, guardian.wallet_id)
    with pytest.raises(RefusedError, match="wallet_unknown"):
        await added(city, guardian, uuid4())


async def test_a_guardian_has_few_wards_and_a_ward_few_guardians(city: AsyncEngine) -> None:
    ward, limits = await make_ward(city), tiers().guardian
    for _ in range(limits.per_wallet):
        assert await added(city, await make_guardian(city), ward.wallet_id)
    guardian = await make_guardian(city)
    with pytest.raises(RefusedError, match="guardians_too_many"):
        await added(city, guardian, ward.wallet_id)
    for _ in range(limits.per_guardian):
        assert await added(city, guardian, (await make_ward(city)).wallet_id)
    another = await make_ward(city)
    with pytest.raises(RefusedError, match="guardians_too_many"):
        await added(city, guardian, another.wallet_id)


async def test_the_wallet_of_a_ward_who_left_has_no_guardian(city: AsyncEngine) -> None:
    ward, guardian = await make_ward(city), await make_guardian(city)
    await added(city, guardian, ward.wallet_id)
    close = text("UPDATE wallet SET state = 'closed' WHERE id = :id")
    await within(city, lambda connection: connection.execute(close, {"id": ward.wallet_id}))
    assert ward.wallet_id not in await roles_of(city, guardian)
