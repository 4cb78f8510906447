"""Takings: what a shop may pay another shop or have paid out, and never more than it has taken."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from tests.factories.city import City, make_city
from tests.factories.merchants import Merchant, make_merchant
from tests.factories.moments import NOW_US
from tests.factories.payments import by_code, change, engage, pay, release
from tests.factories.planting import failed
from tests.factories.residents import row_of, within
from tests.servers import Database
from wallet.core.refusals import Refusal, RefusedError
from wallet.points.run_due import run_due
from wallet.points.shops import (
    MOVE_TAKINGS,
    find_due,
    list_orders,
    move_takings,
    order_takings,
)
from wallet.proof import prove

pytestmark = pytest.mark.asyncio(loop_scope="module")

TAKINGS = """
SELECT b.credits_posted - b.debits_posted AS yen FROM shop AS s
JOIN balance AS b ON b.account_id = s.payable_account_id WHERE s.id = :id
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def town(module_database: Database) -> AsyncIterator[City]:
    """Yield a city."""
    async with make_city(module_database.application_url, yen=1_000_000) as city:
        yield city


async def takings_of(city: City, merchant: Merchant) -> int:
    """Return what the city owes a merchant's shop."""
    yen: int = (await row_of(city.engine, TAKINGS, id=merchant.shop_id))["yen"]
    return yen


async def make_seller(city: City, *, yen: int = 1_000) -> Merchant:
    """Return a merchant who has sold something."""
    merchant = await make_merchant(city.engine, city.teller)
    (code,) = await city.codes()
    request = by_code(
        city, code, amount_yen=yen, merchant_id=merchant.id, terminal_id=merchant.terminal_id
    )
    await pay(city, request)
    return merchant


async def order(city: City, payer: Merchant, payee: Merchant | None, *, yen: int) -> UUID:
    """Order something to happen to a shop's takings."""

    async def work(connection: AsyncConnection) -> UUID:
        return await order_takings(
            connection,
            shop_id=payer.shop_id,
            to_shop_id=None if payee is None else payee.shop_id,
            amount_yen=yen,
            ordered_by=uuid4(),
            now_us=NOW_US,
        )

    return await within(city.engine, work)


async def state_of(city: City, order_id: UUID) -> tuple[str, str | None]:
    """Return where an order stands, and why it was refused."""
    statement = "SELECT state, refused_because FROM takings_order WHERE id = :id"
    row = await row_of(city.engine, statement, id=order_id)
    return row["state"], row["refused_because"]


async def test_a_shop_pays_another_one_out_of_its_takings(town: City) -> None:
    payer, payee = await make_seller(town), await make_merchant(town.engine, town.teller)
    order_id = await order(town, payer, payee, yen=700)
    assert await find_due(town.engine) == [order_id]
    assert await move_takings(town.teller, [order_id]) == 1
    assert await move_takings(town.teller, [order_id]) == 1  # As before, and not once more.
    assert [await takings_of(town, one) for one in (payer, payee)] == [300, 700]
    assert await state_of(town, order_id) == ("moved", None)


async def test_takings_leave_as_a_bank_transfer(town: City) -> None:
    payer = await make_seller(town)
    order_id = await order(town, payer, None, yen=1_000)
    for _ in range(2):
        await run_due(town.engine, town.database_url, town.clock)
    assert await takings_of(town, payer) == 0
    statement = "SELECT amount, code FROM transfer WHERE user_data_128 = :id"
    assert await row_of(town.engine, statement, id=order_id) == {"amount": 1_000, "code": 42}


async def test_no_more_leaves_than_was_taken(town: City) -> None:
    payer, payee = await make_seller(town), await make_merchant(town.engine, town.teller)
    orders = [
        await order(town, payer, payee if number % 2 else None, yen=300) for number in range(6)
    ]
    answers = await asyncio.gather(*[town.teller.submit(MOVE_TAKINGS, one) for one in orders])
    assert sum(answer is None for answer in answers) == 3
    assert await takings_of(town, payer) == 100
    states = [await state_of(town, one) for one in orders]
    assert states.count(("refused", "takings_insufficient")) == 3


async def test_a_suspended_merchant_neither_pays_nor_is_paid(town: City) -> None:
    payer, payee = await make_seller(town), await make_merchant(town.engine, town.teller)
    statement = "UPDATE merchant SET state = 'suspended' WHERE id = :id"
    await change(town, statement, id=payee.id)
    order_id = await order(town, payer, payee, yen=1)
    await move_takings(town.teller, [order_id])
    assert await state_of(town, order_id) == ("refused", "merchant_suspended")


@pytest.mark.parametrize("scope", ["cash-out", "merchant", "all"])
async def test_a_stop_leaves_an_order_for_another_time(town: City, scope: str) -> None:
    payer = await make_seller(town)
    order_id = await order(town, payer, None, yen=400)
    scope = f"merchant:{payer.id.hex}" if scope == "merchant" else scope
    await engage(town, scope)
    try:
        assert await move_takings(town.teller, [order_id]) == 0
        assert await state_of(town, order_id) == ("ordered", None)
    finally:
        await release(town, scope)
    assert await move_takings(town.teller, [order_id]) == 1


async def test_an_order_must_be_between_shops_that_exist(town: City) -> None:
    payer = await make_seller(town)
    with pytest.raises(RefusedError, match="takings_to_self"):
        await order(town, payer, payer, yen=1)

    async def nobodys(connection: AsyncConnection) -> UUID:
        return await order_takings(
            connection,
            shop_id=uuid4(),
            to_shop_id=None,
            amount_yen=1,
            ordered_by=uuid4(),
            now_us=NOW_US,
        )

    with pytest.raises(RefusedError, match="shop_unknown"):
        await within(town.engine, nobodys)
    assert await town.teller.submit(MOVE_TAKINGS, uuid4()) == Refusal("takings_order_unknown")


async def test_orders_are_listed_newest_first(town: City) -> None:
    payer = await make_seller(town)
    made = [await order(town, payer, None, yen=1) for _ in range(3)]
    async with town.engine.connect() as connection:
        page = await list_orders(connection, before=None, limit=100)
        ids = [one.id for one in page]
        rest = await list_orders(connection, before=ids[0], limit=1)
    assert set(made) <= set(ids)
    assert ids == sorted(ids, reverse=True)
    assert [one.id for one in rest] == ids[1:2]


async def test_every_event_is_told_once(town: City) -> None:
    async with town.engine.connect() as connection:
        told = await connection.execute(
            text("SELECT body ->> 'order_id' FROM outbox WHERE kind LIKE 'takings.%'")
        )
        orders = list(told.scalars())
    assert len(orders) == len(set(orders)) > 0


async def test_the_proof_is_green_after_all_orders(town: City) -> None:
    proof = await prove(town.engine, now_us=NOW_US)
    assert proof.ok, failed(proof.checks)
