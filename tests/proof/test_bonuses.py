"""The proof of bonuses and coupons: green after all of it, and every planted error found."""

from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio

from tests.factories.bonuses import bonus, coupon, make_giving, note_event, pick
from tests.factories.city import make_city
from tests.factories.payments import fresh, pay
from tests.factories.people import make_wallet
from tests.factories.planting import failed, planted
from tests.factories.vouchers import give
from tests.proof.conftest import LATER_US
from tests.servers import Database
from wallet.core.clock import TestClock
from wallet.core.database import make_engine
from wallet.payments.give_due import run_due
from wallet.proof import prove
from wallet.proof.prove import prove_snapshot

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def brought(module_database: Database) -> dict[str, Any]:
    """Let bonuses of every sort be given, one vest, one wait, and a coupon be used."""
    async with make_city(module_database.application_url) as city:
        await make_giving(
            city,
            "giving",
            bonus(total_cap_yen=1_000),
            bonus("later", percent=5, vests_after_days=1),
            bonus("top-up", on="charge"),
            coupons=[coupon()],
        )
        wallet_id = await make_wallet(city.engine)
        await give(city.teller, wallet_id, "giving", amount_yen=10_000)
        await pick(city, wallet_id, "giving:spring")
        first = await pay(city, await fresh(city, wallet_id, amount_yen=2_000))
        assert len(first.earned) == 2
        event_id = await note_event(city, wallet_id, "giving")
        assert isinstance(city.clock, TestClock)
        city.clock.advance(seconds=86_400)
        assert await run_due(city.engine, city.database_url, city.clock) == 2
        second = await pay(city, await fresh(city, wallet_id, amount_yen=1_000))
        return {"first": first.id, "second": second.id, "event_id": event_id, "nobody": UUID(int=9)}


@pytest.mark.usefixtures("brought")
async def test_a_city_that_gives_is_green(module_database: Database) -> None:
    engine = make_engine(module_database.application_url, pool_size=1, application_name="tests")
    try:
        proof = await prove(engine, now_us=LATER_US)
    finally:
        await engine.dispose()
    assert proof.ok, failed(proof.checks)


@pytest.mark.parametrize(
    ("check", "statement"),
    [
        ("bonuses_have_their_transfers", "UPDATE bonus_grant SET amount_yen = amount_yen + 1"),
        ("bonuses_have_their_transfers", "UPDATE bonus_grant SET wallet_id = :nobody"),
        ("bonuses_have_their_transfers", "DELETE FROM bonus_grant WHERE payment_id = :first"),
        (
            "bonuses_are_of_payments_that_succeeded",
            "UPDATE bonus_grant SET payment_id = :second WHERE payment_id = :first",
        ),
        (
            "events_brought_what_they_say",
            "UPDATE bonus_due SET granted_yen = granted_yen + 1 WHERE id = :event_id",
        ),
        ("events_brought_what_they_say", "DELETE FROM bonus_due WHERE id = :event_id"),
        (
            "reserves_hold_what_was_promised",
            "UPDATE bonus_grant SET state = 'granted' WHERE state = 'pending'",
        ),
        ("coupons_have_their_transfers", "DELETE FROM coupon_use"),
        ("coupons_have_their_transfers", "UPDATE coupon_use SET amount_yen = amount_yen + 1"),
        (
            "coupons_have_their_transfers",
            "UPDATE coupon_use SET payment_id = :second WHERE payment_id = :first",
        ),
    ],
)
async def test_what_is_planted_is_found(
    module_database: Database, brought: dict[str, Any], check: str, statement: str
) -> None:
    async with planted(module_database.owner_url, statement, **brought) as connection:
        proof = await prove_snapshot(connection, now_us=LATER_US)
    assert check in failed(proof.checks)
