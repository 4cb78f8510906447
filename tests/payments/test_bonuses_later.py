"""Bonuses that the worker gives: for charges and civic events, and those that vest later."""

import asyncio
from datetime import date, timedelta
from uuid import UUID

import pytest
from sqlalchemy import text

from tests.factories.bonuses import bonus, budget_left, grants_of, make_giving, note_event
from tests.factories.city import City
from tests.factories.payments import change, engage, fresh, pay, release
from tests.factories.people import make_wallet
from tests.factories.vouchers import give, purses_of
from wallet.core.clock import TestClock, japanese_day
from wallet.core.database import read
from wallet.payments.give_due import run_due
from wallet.payments.rules import Earned
from wallet.programmes.bonus import Band

pytestmark = pytest.mark.asyncio(loop_scope="module")

DECIDED = text("SELECT granted_yen FROM bonus_due WHERE id = :id")
TOLD = text("""
SELECT kind FROM outbox WHERE body ->> 'wallet_id' = :wallet_id AND kind LIKE 'bonus.%'
ORDER BY seq
""")
RESERVED = text("""
SELECT (b.credits_posted - b.debits_posted)::bigint
FROM programme AS g JOIN balance AS b ON b.account_id = g.id WHERE g.code = :code
""")


async def work(city: City) -> int:
    """Let the worker give what is due."""
    return await run_due(city.engine, city.database_url, city.clock)


async def granted(city: City, due_id: UUID) -> int | None:
    """Return what an event has brought, None while it waits."""
    async with read(city.engine) as connection:
        yen: int | None = (await connection.execute(DECIDED, {"id": due_id})).scalar_one()
        return yen


async def told(city: City, wallet_id: UUID) -> list[str]:
    """Return what was told of a wallet's bonuses."""
    async with read(city.engine) as connection:
        rows = await connection.execute(TOLD, {"wallet_id": str(wallet_id)})
        return list(rows.scalars())


async def reserved(city: City, code: str) -> int:
    """Return what a programme has set aside."""
    async with read(city.engine) as connection:
        yen: int = (await connection.execute(RESERVED, {"code": code})).scalar_one()
        return yen


async def test_a_charge_brings_its_bonus_once(city: City) -> None:
    await make_giving(city, "charging", bonus("top-up", on="charge", percent=1), bonus("pays"))
    wallet_id = await make_wallet(city.engine)
    due_id = await note_event(city, wallet_id, "charging", base_yen=5_000)
    assert await work(city) == 1
    assert await work(city) == 0
    assert await granted(city, due_id) == 50
    assert await purses_of(city.engine, wallet_id) == {"charging free": 50}
    assert await grants_of(city, wallet_id) == [("charging/top-up", 50, "granted")]
    assert await told(city, wallet_id) == ["bonus.granted"]


async def test_a_civic_event_brings_just_the_bonus_that_it_names(city: City) -> None:
    for_cleaning, for_blood = (Band(from_yen=0, bonus_yen=yen) for yen in (100, 300))
    await make_giving(
        city,
        "civic",
        bonus("clean-up", on="civic", percent=0, bands=(for_cleaning,)),
        bonus("blood", on="civic", percent=0, bands=(for_blood,)),
    )
    wallet_id = await make_wallet(city.engine)
    due_id = await note_event(city, wallet_id, "civic", event="civic", base_yen=0, bonus="blood")
    await work(city)
    assert await granted(city, due_id) == 300


async def test_two_workers_at_once_give_once(city: City) -> None:
    await make_giving(city, "twice", bonus(on="charge"))
    wallet_id = await make_wallet(city.engine)
    await note_event(city, wallet_id, "twice", base_yen=1_000)
    assert sum(await asyncio.gather(*[work(city) for _ in range(3)])) == 1
    assert await purses_of(city.engine, wallet_id) == {"twice free": 100}


async def test_events_stop_at_the_last_yen_of_the_budget(city: City) -> None:
    await make_giving(city, "short", bonus(on="charge"), budget_yen=150)
    wallets = [await make_wallet(city.engine) for _ in range(3)]
    due = [await note_event(city, wallet_id, "short", base_yen=1_000) for wallet_id in wallets]
    await work(city)
    assert sorted([await granted(city, one) or 0 for one in due]) == [0, 50, 100]
    assert await budget_left(city, "short") == 0


async def test_a_stop_lets_an_event_wait(city: City) -> None:
    await make_giving(city, "waiting", bonus(on="charge"))
    wallet_id = await make_wallet(city.engine)
    due_id = await note_event(city, wallet_id, "waiting")
    await engage(city, "programme:waiting")
    await work(city)
    assert await granted(city, due_id) is None
    await release(city, "programme:waiting")
    await work(city)
    assert await granted(city, due_id) == 100


async def test_a_closed_wallet_gets_nothing(city: City) -> None:
    await make_giving(city, "closing", bonus(on="charge"))
    wallet_id = await make_wallet(city.engine)
    due_id = await note_event(city, wallet_id, "closing")
    await change(city, "UPDATE wallet SET state = 'closed' WHERE id = :id", id=wallet_id)
    await work(city)
    assert await granted(city, due_id) == 0


async def vesting(city: City, code: str, *, days: int) -> tuple[UUID, date]:
    """Pay 1,000 yen for a bonus that vests later; return the wallet and the day."""
    await make_giving(city, code, bonus(vests_after_days=days))
    wallet_id = await make_wallet(city.engine)
    await give(city.teller, wallet_id, code, amount_yen=10_000)
    usable_on = japanese_day(city.clock()) + timedelta(days=days)
    payment = await pay(city, await fresh(city, wallet_id))
    assert payment.earned == (Earned(code, 100, usable_on),)
    return wallet_id, usable_on


async def test_a_bonus_that_vests_is_set_aside_and_given_on_its_day(city: City) -> None:
    wallet_id, _ = await vesting(city, "patient", days=7)
    assert await purses_of(city.engine, wallet_id) == {"patient free": 9_000}
    assert await grants_of(city, wallet_id) == [("patient/back", 100, "pending")]
    assert await reserved(city, "patient") == 100
    await work(city)
    assert await reserved(city, "patient") == 100
    assert isinstance(city.clock, TestClock)
    city.clock.advance(seconds=7 * 86_400)
    assert await work(city) == 1
    assert await work(city) == 0
    assert await purses_of(city.engine, wallet_id) == {"patient free": 9_100}
    assert await grants_of(city, wallet_id) == [("patient/back", 100, "granted")]
    assert await reserved(city, "patient") == 0
    assert await told(city, wallet_id) == ["bonus.vested"]


async def test_a_bonus_of_a_wallet_that_was_closed_meanwhile_goes_back(city: City) -> None:
    wallet_id, _ = await vesting(city, "gone", days=1)
    left = await budget_left(city, "gone")
    await change(city, "UPDATE wallet SET state = 'closed' WHERE id = :id", id=wallet_id)
    assert isinstance(city.clock, TestClock)
    city.clock.advance(seconds=86_400)
    await work(city)
    assert await grants_of(city, wallet_id) == [("gone/back", 100, "reversed")]
    assert await budget_left(city, "gone") == left + 100


async def test_a_bonus_that_could_not_be_spent_when_it_vests_is_not_given(city: City) -> None:
    last_day = japanese_day(city.clock()) + timedelta(days=3)
    await make_giving(city, "too-late", bonus(vests_after_days=4), last_day=last_day)
    wallet_id = await make_wallet(city.engine)
    await give(city.teller, wallet_id, "too-late", amount_yen=10_000)
    assert (await pay(city, await fresh(city, wallet_id))).earned == ()
