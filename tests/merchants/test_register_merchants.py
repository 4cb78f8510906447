"""Merchants are registered once, each shop with an account for what it is owed."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import pytest
from msgspec.structs import replace
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.factories.city import open_rooms
from tests.factories.moments import NOW_US
from tests.servers import Database
from wallet.core.database import read
from wallet.core.ids import new_id
from wallet.core.refusals import RefusedError
from wallet.ledger.teller import Teller
from wallet.merchants.register_merchants import NewMerchant, NewShop, register_merchants

Rooms = tuple[AsyncEngine, Teller]

SHOPS = text("""
SELECT s.id, s.name, s.category, s.small, m.name, m.state, a.code, a.flags,
       array(SELECT t.id FROM terminal AS t WHERE t.shop_id = s.id ORDER BY t.id)
FROM shop AS s JOIN merchant AS m ON m.id = s.merchant_id
JOIN account AS a ON a.id = s.payable_account_id
WHERE m.id = :merchant_id ORDER BY s.id
""")
COUNT = text("SELECT count(*) FROM merchant")


@pytest.fixture
async def rooms(module_database: Database) -> AsyncIterator[Rooms]:
    """Yield an engine and a teller on the module's city."""
    async with open_rooms(module_database.application_url) as rooms:
        yield rooms


def shop(category: str = "books", *, terminals: int = 1) -> NewShop:
    """Return a shop to register."""
    shop_id, *terminal_ids = (new_id(now_us=NOW_US) for _ in range(1 + terminals))
    return NewShop(shop_id, "城南書店", category, small=True, terminal_ids=tuple(terminal_ids))


def merchant(*shops: NewShop) -> NewMerchant:
    """Return a merchant to register."""
    return NewMerchant(new_id(now_us=NOW_US), "城南書店", shops)


async def shops_of(engine: AsyncEngine, merchant_id: UUID) -> list[tuple[object, ...]]:
    """Return a merchant's shops as they are stored."""
    async with read(engine) as connection:
        rows = await connection.execute(SHOPS, {"merchant_id": merchant_id})
        return [tuple(row) for row in rows]


async def count_merchants(engine: AsyncEngine) -> int:
    """Return how many merchants there are."""
    async with read(engine) as connection:
        count: int = (await connection.execute(COUNT)).scalar_one()
    return count


async def test_a_merchant_comes_with_shops_terminals_and_payable_accounts(rooms: Rooms) -> None:
    engine, teller = rooms
    new = merchant(shop(terminals=2), shop("cafe", terminals=0))
    assert await register_merchants(teller, merchants=[new]) == 1
    payable_code, no_limits = 30, 0
    assert await shops_of(engine, new.id) == [
        (
            *(one.id, one.name, one.category, True, new.name, "active", payable_code, no_limits),
            sorted(one.terminal_ids),
        )
        for one in sorted(new.shops, key=lambda one: one.id)
    ]


async def test_registering_again_counts_only_the_new_and_leaves_the_old_alone(
    rooms: Rooms,
) -> None:
    engine, teller = rooms
    old, new = merchant(shop()), merchant(shop())
    assert await register_merchants(teller, merchants=[old]) == 1
    before = await shops_of(engine, old.id)
    assert await register_merchants(teller, merchants=[replace(old, name="別の名"), new]) == 1
    assert await register_merchants(teller, merchants=[old, new]) == 0
    assert await shops_of(engine, old.id) == before


async def test_two_tellers_register_a_merchant_once(module_database: Database) -> None:
    url = module_database.application_url
    new = merchant(shop())
    async with open_rooms(url) as (engine, one), open_rooms(url) as (_, other):
        counts = await asyncio.gather(
            *[register_merchants(teller, merchants=[new]) for teller in (one, other)]
        )
        assert sorted(counts) == [0, 1]
        assert len(await shops_of(engine, new.id)) == 1


async def test_an_unknown_category_registers_nobody(rooms: Rooms) -> None:
    engine, teller = rooms
    before = await count_merchants(engine)
    with pytest.raises(RefusedError) as refused:
        await register_merchants(teller, merchants=[merchant(shop()), merchant(shop("casino"))])
    assert refused.value.refusal.code == "category_unknown"
    assert refused.value.refusal.facts["category"] == "casino"
    assert "books" in refused.value.refusal.facts["known"]
    assert await count_merchants(engine) == before


async def test_a_merchant_with_too_many_shops_is_refused(rooms: Rooms) -> None:
    _, teller = rooms
    with pytest.raises(RefusedError) as refused:
        await register_merchants(teller, merchants=[merchant(*[shop()] * 1_001)])
    assert refused.value.refusal.code == "shops_too_many"


async def test_a_shop_id_that_is_taken_registers_nothing_of_its_merchant(rooms: Rooms) -> None:
    engine, teller = rooms
    taken = shop()
    await register_merchants(teller, merchants=[merchant(taken)])
    thief = merchant(shop(), taken)
    with pytest.raises(RefusedError) as refused:
        await register_merchants(teller, merchants=[thief])
    assert refused.value.refusal.code == "shop_exists"
    assert refused.value.refusal.facts == {"shop_id": taken.id}
    assert await shops_of(engine, thief.id) == []
