"""The money of a card that is lost follows to the one that takes its place, purse by purse."""

from collections.abc import AsyncIterator
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from sqlalchemy import text

from tests.factories import stops
from tests.factories.card_batches import activated_card, make_cards
from tests.factories.city import City, make_city
from tests.factories.moments import NOW_US
from tests.factories.payments import PAY, by_card
from tests.factories.programmes import free_draft, make_programme, voucher_draft
from tests.factories.refunds import refund
from tests.factories.vouchers import give, purses_of
from tests.servers import Database
from wallet.core.database import read, write
from wallet.ops import stop
from wallet.payments.pay import Paid
from wallet.people.cards import Replaced, replace_card
from wallet.proof import prove
from wallet.vouchers.move import run_moves

pytestmark = pytest.mark.asyncio(loop_scope="module")

STATE = text("SELECT state FROM wallet WHERE id = :id")
MOVES = text("""
SELECT t.amount, p.wallet_id, q.wallet_id, p.expires_on = q.expires_on, t.user_data_128
FROM transfer AS t JOIN purse AS p ON p.account_id = t.debit_account_id
JOIN purse AS q ON q.account_id = t.credit_account_id
WHERE t.code = 28 AND p.wallet_id = :id ORDER BY t.amount
""")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def city(module_database: Database) -> AsyncIterator[City]:
    """Yield a city with two kinds of money."""
    async with make_city(module_database.application_url) as city:
        await make_programme(city.teller, voucher_draft("voucher"))
        await make_programme(city.teller, free_draft("points"))
        yield city


async def state_of(city: City, wallet_id: UUID) -> str:
    """Return the state of a wallet."""
    async with read(city.engine) as connection:
        state: str = (await connection.execute(STATE, {"id": wallet_id})).scalar_one()
    return state


async def replace(city: City, card_id: UUID) -> Replaced:
    """Put a new card in the place of one."""
    (new,) = (await make_cards(city.engine)).cards
    work = partial(
        replace_card,
        card_id=card_id,
        number=new.printed_number,
        decided_by=uuid4(),
        now_us=NOW_US,
    )
    return await write(city.engine, work)


async def move(city: City) -> int:
    """Let the worker do its round."""
    return await run_moves(city.engine, city.teller, clock=city.clock)


async def test_the_money_of_a_lost_card_follows_purse_by_purse(city: City) -> None:
    old, activated = await activated_card(city.engine)
    await give(city.teller, activated.wallet_id, "voucher", sets=1)
    await give(city.teller, activated.wallet_id, "points", amount_yen=70)
    replaced = await replace(city, activated.card_id)
    assert replaced.moves
    # From here on the old card pays nothing, whoever has found it.
    answer = await city.teller.submit(PAY, by_card(city, old.qr_value, amount_yen=10))
    assert isinstance(answer, Paid)
    assert answer.payment.state == "declined"
    assert await move(city) == 1
    assert await move(city) == 0
    held = {"voucher paid": 5_000, "voucher premium": 1_250, "points free": 70}
    assert await purses_of(city.engine, replaced.wallet_id) == held
    assert set((await purses_of(city.engine, activated.wallet_id)).values()) == {0}
    assert await state_of(city, activated.wallet_id) == "closed"
    async with read(city.engine) as connection:
        moves = (await connection.execute(MOVES, {"id": activated.wallet_id})).all()
    both = (activated.wallet_id, replaced.wallet_id, True, replaced.wallet_id)
    assert [tuple(one) for one in moves] == [(yen, *both) for yen in (70, 1_250, 5_000)]
    proof = await prove(city.engine, now_us=NOW_US)
    assert proof.ok, proof.as_dict()


async def test_a_card_that_is_replaced_twice_before_the_money_follows_loses_none(
    city: City,
) -> None:
    _, activated = await activated_card(city.engine)
    await give(city.teller, activated.wallet_id, "points", amount_yen=30)
    first = await replace(city, activated.card_id)
    second = await replace(city, first.card_id)
    for _ in range(2):
        await move(city)
    assert await purses_of(city.engine, second.wallet_id) == {"points free": 30}
    assert await state_of(city, first.wallet_id) == "closed"
    assert await move(city) == 0


async def test_what_a_shop_gives_back_later_follows_too(city: City) -> None:
    old, activated = await activated_card(city.engine)
    await give(city.teller, activated.wallet_id, "points", amount_yen=90)
    paid = await city.teller.submit(PAY, by_card(city, old.qr_value, amount_yen=60))
    assert isinstance(paid, Paid)
    replaced = await replace(city, activated.card_id)
    await move(city)
    assert await purses_of(city.engine, replaced.wallet_id) == {"points free": 30}
    await refund(city, paid.payment.id)
    await move(city)
    assert await purses_of(city.engine, replaced.wallet_id) == {"points free": 90}
    assert await move(city) == 0
    proof = await prove(city.engine, now_us=NOW_US)
    assert proof.ok, proof.as_dict()


async def test_an_empty_card_is_replaced_without_a_transfer(city: City) -> None:
    _, activated = await activated_card(city.engine)
    replaced = await replace(city, activated.card_id)
    await move(city)
    assert await purses_of(city.engine, replaced.wallet_id) == {}
    assert await state_of(city, activated.wallet_id) == "closed"


async def test_while_everything_is_stopped_the_money_stays(city: City) -> None:
    _, activated = await activated_card(city.engine)
    await give(city.teller, activated.wallet_id, "points", amount_yen=5)
    replaced = await replace(city, activated.card_id)
    story: dict[str, Any] = {"scope": "all", "reason": "drill of the worker", "actor": "cli:tests"}
    await write(city.engine, partial(stop.engage, **story, now_us=NOW_US))
    await move(city)
    assert await purses_of(city.engine, replaced.wallet_id) == {}
    await write(city.engine, partial(stops.release, **story, now_us=NOW_US))
    await move(city)
    assert await purses_of(city.engine, replaced.wallet_id) == {"points free": 5}
