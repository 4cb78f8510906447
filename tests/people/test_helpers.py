"""Helpers act as their own selves, within limits, and only as long as both want it."""

from typing import Any
from uuid import UUID

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.factories.moments import NOW_US, PEPPER
from tests.factories.phones import events_of
from tests.factories.residents import Resident, make_resident, make_visitor, row_of, within
from wallet.core.clock import MICROSECONDS
from wallet.core.database import read
from wallet.core.refusals import RefusedError
from wallet.people.freeze import freeze
from wallet.people.helpers import (
    INVITATION_S,
    Help,
    Invitation,
    Wanted,
    accept_help,
    invite_helper,
    list_help,
    revoke_help,
)
from wallet.people.queries import Reach, Role, list_reach
from wallet.people.tiers import tiers

PROXY = Wanted(kind="proxy", payment_limit_yen=3_000, daily_limit_yen=5_000)
VIEW = Wanted(kind="view")
COOLING_US = tiers().helper.cooling_off_h * 3_600 * MICROSECONDS


async def invited(
    engine: AsyncEngine, owner: Resident, wanted: Wanted = PROXY, *, wallet_id: UUID | None = None
) -> Invitation:
    """Invite a helper for the owner's wallet."""
    return await within(
        engine,
        lambda connection: invite_helper(
            connection,
            owner_id=owner.id,
            wallet_id=wallet_id or owner.wallet_id,
            wanted=wanted,
            pepper=PEPPER,
            now_us=NOW_US,
        ),
    )


async def accepted(
    engine: AsyncEngine, person: Resident, invitation: Invitation, *, now_us: int = NOW_US
) -> Help:
    """Take an invitation on."""
    return await within(
        engine,
        lambda connection: accept_help(
            connection, person_id=person.id, code=invitation.code, pepper=PEPPER, now_us=now_us
        ),
    )


async def revoked(engine: AsyncEngine, person: Resident, helper_id: UUID) -> None:
    """End a helper's rights."""
    await within(
        engine,
        lambda connection: revoke_help(
            connection, person_id=person.id, helper_id=helper_id, now_us=NOW_US
        ),
    )


async def reach_of(engine: AsyncEngine, person: Resident) -> dict[UUID, Reach]:
    """Return what a person may reach, by wallet."""
    async with read(engine) as connection:
        return {one.wallet_id: one for one in await list_reach(connection, person_id=person.id)}


async def test_a_proxy_pays_within_limits_once_it_has_cooled_off(city: AsyncEngine) -> None:
    owner, daughter = await make_resident(city), await make_resident(city)
    invitation = await invited(city, owner)
    helper = await accepted(city, daughter, invitation)
    assert (helper.kind, helper.is_owner, helper.id) == ("proxy", False, invitation.helper_id)
    reach = (await reach_of(city, daughter))[owner.wallet_id]
    assert (reach.role, reach.payment_limit_yen, reach.daily_limit_yen) == (
        Role.PROXY,
        3_000,
        5_000,
    )
    assert not reach.may_pay(now_us=NOW_US + COOLING_US - 1)
    assert reach.may_pay(now_us=NOW_US + COOLING_US)
    counted = await row_of(
        city, "SELECT spent_yen FROM spending WHERE holder_id = :id", id=reach.holder_id
    )
    assert counted["spent_yen"] == 0


@pytest.mark.asvs("v5.0.0-8.2.3")
async def test_a_viewer_looks_and_never_pays(city: AsyncEngine) -> None:
    owner, son = await make_resident(city), await make_resident(city)
    await accepted(city, son, await invited(city, owner, VIEW))
    reach = (await reach_of(city, son))[owner.wallet_id]
    assert reach.role is Role.VIEW
    assert not reach.may_pay(now_us=NOW_US + 10 * COOLING_US)


async def test_who_owns_a_wallet_reaches_it_and_is_told_of_helpers(city: AsyncEngine) -> None:
    owner, daughter = await make_resident(city), await make_resident(city)
    helper = await accepted(city, daughter, await invited(city, owner))
    own = (await reach_of(city, owner))[owner.wallet_id]
    assert (own.role, own.holder_id) == (Role.OWN, owner.wallet_id)
    assert own.may_pay(now_us=NOW_US)
    async with read(city) as connection:
        (shown,) = await list_help(connection, person_id=owner.id, now_us=NOW_US)
    assert (shown.id, shown.is_owner) == (helper.id, True)
    kinds = [kind for kind, _ in await events_of(city, owner.id)]
    assert {"helper.invited", "helper.accepted"} <= set(kinds)


@pytest.mark.parametrize("by", ["owner", "helper"])
async def test_either_ends_it_with_one_tap(city: AsyncEngine, by: str) -> None:
    owner, daughter = await make_resident(city), await make_resident(city)
    helper = await accepted(city, daughter, await invited(city, owner))
    await revoked(city, owner if by == "owner" else daughter, helper.id)
    assert owner.wallet_id not in await reach_of(city, daughter)
    for told in (owner, daughter):
        assert "helper.revoked" in dict(await events_of(city, told.id))
    with pytest.raises(RefusedError, match="helper_unknown"):
        await revoked(city, owner, helper.id)


@pytest.mark.attack(25)
@pytest.mark.asvs("v5.0.0-8.2.2")
async def test_nobody_else_ends_it_or_invites_to_it(city: AsyncEngine) -> None:
    owner, daughter, stranger = [await make_resident(city) for _ in range(3)]
    helper = await accepted(city, daughter, await invited(city, owner))
    with pytest.raises(RefusedError, match="helper_unknown"):
        await revoked(city, stranger, helper.id)
    with pytest.raises(RefusedError, match="wallet_unknown"):
        await invited(city, stranger, wallet_id=owner.wallet_id)
    with pytest.raises(RefusedError, match="wallet_unknown"):
        await invited(city, daughter, wallet_id=owner.wallet_id)


async def test_an_invitation_is_taken_on_once_and_in_time(city: AsyncEngine) -> None:
    owner, daughter, son = [await make_resident(city) for _ in range(3)]
    late = await invited(city, owner)
    with pytest.raises(RefusedError, match="invitation_unknown"):
        await accepted(city, daughter, late, now_us=NOW_US + INVITATION_S * MICROSECONDS)
    await accepted(city, daughter, late)
    with pytest.raises(RefusedError, match="invitation_unknown"):
        await accepted(city, son, late)


async def test_an_invitation_that_was_withdrawn_is_void(city: AsyncEngine) -> None:
    owner, daughter = await make_resident(city), await make_resident(city)
    invitation = await invited(city, owner)
    await revoked(city, owner, invitation.helper_id)
    with pytest.raises(RefusedError, match="invitation_unknown"):
        await accepted(city, daughter, invitation)


async def test_nobody_helps_themselves_twice_or_from_the_lowest_tier(city: AsyncEngine) -> None:
    owner, daughter = await make_resident(city), await make_resident(city)
    visitor = await make_visitor(city, "helping@example.jp")
    invitation = await invited(city, owner)
    with pytest.raises(RefusedError, match="helper_of_self"):
        await accepted(city, owner, invitation)
    with pytest.raises(RefusedError, match="helper_not_proven"):
        await accepted(city, visitor, invitation)
    await accepted(city, daughter, invitation)
    with pytest.raises(RefusedError, match="helpers_too_many"):
        await accepted(city, daughter, await invited(city, owner, VIEW))


async def test_who_is_frozen_helps_nobody(city: AsyncEngine) -> None:
    owner, daughter = await make_resident(city), await make_resident(city)
    invitation = await invited(city, owner)
    await within(
        city,
        lambda connection: freeze(connection, person_id=daughter.id, because="own", now_us=NOW_US),
    )
    with pytest.raises(RefusedError, match="helper_not_proven"):
        await accepted(city, daughter, invitation)


async def test_a_wallet_has_a_few_helpers_and_late_invitations_make_room(
    city: AsyncEngine,
) -> None:
    owner = await make_resident(city)
    for _ in range(tiers().helper.per_wallet):
        await invited(city, owner)
    with pytest.raises(RefusedError, match="helpers_too_many"):
        await invited(city, owner)
    later_us = NOW_US + INVITATION_S * MICROSECONDS
    invitation = await within(
        city,
        lambda connection: invite_helper(
            connection,
            owner_id=owner.id,
            wallet_id=owner.wallet_id,
            wanted=VIEW,
            pepper=PEPPER,
            now_us=later_us,
        ),
    )
    assert invitation.code.startswith("help_")


@pytest.mark.asvs("v5.0.0-2.2.3")
@pytest.mark.parametrize(
    "limits",
    [
        {"kind": "proxy"},
        {"kind": "proxy", "payment_limit_yen": 10_001, "daily_limit_yen": 30_000},
        {"kind": "proxy", "payment_limit_yen": 10_000, "daily_limit_yen": 30_001},
        {"kind": "proxy", "payment_limit_yen": 2, "daily_limit_yen": 1},
        {"kind": "proxy", "payment_limit_yen": -1, "daily_limit_yen": 1},
        {"kind": "view", "payment_limit_yen": 1, "daily_limit_yen": 1},
    ],
    ids=str,
)
async def test_no_proxy_has_more_than_the_policy_allows(
    city: AsyncEngine, limits: dict[str, Any]
) -> None:
    owner = await make_resident(city)
    with pytest.raises(RefusedError, match="helper_limits"):
        await invited(city, owner, Wanted(**limits))
