"""People who pay out of somebody else's wallet: how they are themselves counts as well."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from uuid import UUID

import pytest

from tests.factories.approvals import ABOVE, by_phone, code_of, left_of, make_rich
from tests.factories.city import City
from tests.factories.payments import by_code, change, declined, pay
from tests.factories.planting import failed
from tests.factories.residents import Resident, make_resident, within
from tests.payments.test_by_phone import paid_by, passed, refusal_of, ward_of
from tests.payments.test_step_up_who import COOLS, proxy_of
from wallet.auth.rules import Acr
from wallet.core.clock import to_datetime
from wallet.core.refusals import Refusal
from wallet.people.freeze import freeze
from wallet.proof import prove

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def usable(city: City, helper_id: UUID) -> None:
    """Let the time pass after which a proxy may pay."""
    until = to_datetime(city.clock()) - timedelta(seconds=1)
    await change(
        city, "UPDATE helper SET cooling_until = :until WHERE id = :id", until=until, id=helper_id
    )


async def test_a_proxy_pays_by_phone_once_they_may_and_within_their_limits(city: City) -> None:
    owner, helper = await make_rich(city), await make_resident(city.engine)
    helper_id = await proxy_of(city, owner, helper)
    early = by_phone(city, helper.phone, amount_yen=1_000, wallet_id=owner.wallet_id)
    assert await refusal_of(city, early) == Refusal("payment_not_allowed")
    await usable(city, helper_id)
    over = by_phone(city, helper.phone, amount_yen=8_001, wallet_id=owner.wallet_id)
    assert await refusal_of(city, over) == Refusal("limit_payment", {"limit_yen": 8_000})
    # It is the helper's phone that is asked, and that answers.
    request = by_phone(city, helper.phone, wallet_id=owner.wallet_id)
    paid = await paid_by(city, await passed(city, helper.phone, request))
    assert (paid.asked_by, paid.helper_id) == (helper.id, helper_id)
    more = by_phone(city, helper.phone, amount_yen=3_001, wallet_id=owner.wallet_id)
    left = Refusal("limit_daily", {"limit_yen": 9_000, "left_yen": 3_000})
    assert await refusal_of(city, more) == left
    assert await left_of(city, owner) == 30_000 - ABOVE


async def as_proxy(city: City) -> tuple[Resident, UUID, UUID | None]:
    """Return somebody who may pay for somebody else, whose wallet that is, and as whom."""
    owner, helper = await make_rich(city), await make_resident(city.engine)
    helper_id = await proxy_of(city, owner, helper)
    await usable(city, helper_id)
    return helper, owner.wallet_id, helper_id


async def as_guardian(city: City) -> tuple[Resident, UUID, UUID | None]:
    """Return somebody with a ward, and the ward's wallet."""
    guardian = await make_resident(city.engine)
    return guardian, await ward_of(city, guardian), None


HELPS = pytest.mark.parametrize("make", [as_proxy, as_guardian])
Maker = Callable[[City], Awaitable[tuple[Resident, UUID, UUID | None]]]


@HELPS
async def test_who_cools_off_pays_little_for_others_too(city: City, make: Maker) -> None:
    helper, wallet_id, helper_id = await make(city)
    # Only they, not their phone: it may have come after the change that they cool off from.
    until = to_datetime(city.clock()) + timedelta(hours=1)
    await change(
        city, "UPDATE person SET cooling_until = :until WHERE id = :id", until=until, id=helper.id
    )
    codes = [
        await code_of(city, helper, acr=Acr.PHR, wallet_id=wallet_id, helper_id=helper_id)
        for _ in range(2)
    ]
    assert await declined(city, by_code(city, codes[0], amount_yen=5_001)) == COOLS
    request = by_phone(city, helper.phone, amount_yen=5_001, wallet_id=wallet_id)
    assert await refusal_of(city, request) == COOLS
    await pay(city, by_code(city, codes[1], amount_yen=1_000))
    await paid_by(city, by_phone(city, helper.phone, amount_yen=1_000, wallet_id=wallet_id))


@HELPS
async def test_who_is_frozen_pays_nothing_for_others_either(city: City, make: Maker) -> None:
    helper, wallet_id, helper_id = await make(city)
    code = await code_of(city, helper, wallet_id=wallet_id, helper_id=helper_id)
    request = by_phone(city, helper.phone, amount_yen=1_000, wallet_id=wallet_id)
    now_us = city.clock()
    await within(
        city.engine, lambda c: freeze(c, person_id=helper.id, because="own", now_us=now_us)
    )
    frozen = Refusal("wallet_frozen")
    assert await declined(city, by_code(city, code)) == frozen
    assert await refusal_of(city, request) == frozen


async def test_whatever_was_paid_for_others_can_be_proved(city: City) -> None:
    proof = await prove(city.engine, now_us=city.clock())
    assert proof.ok, failed(proof.checks)
