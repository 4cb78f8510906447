"""Programmes come into being once, with their accounts and their budget."""

import asyncio
from collections.abc import AsyncIterator
from datetime import date
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.factories.city import make_city, open_rooms
from tests.factories.payments import engage, release
from tests.factories.programmes import frame, free_draft, make_programme, voucher_draft
from tests.servers import Database
from wallet.core.database import connect, read
from wallet.core.ids import new_id
from wallet.core.refusals import RefusedError
from wallet.ledger.chart import FUNDING_ACCOUNT_ID
from wallet.ledger.teller import Teller
from wallet.programmes.fund_budget import fund_budget
from wallet.programmes.queries import ProgrammeShelf

Rooms = tuple[AsyncEngine, Teller]

BUDGET = text("""
SELECT p.number, p.budget_account_id, b.credits_posted - b.debits_posted AS budget_yen
FROM programme AS p JOIN balance AS b ON b.account_id = p.budget_account_id WHERE p.code = :code
""")
FUNDED = text("SELECT debits_posted FROM balance WHERE account_id = :id")
NUMBERS = text("SELECT number FROM programme ORDER BY number")
RENAME = """
UPDATE programme SET version = version + 1, terms = jsonb_set(terms, '{name}', '"新しい名前"')
WHERE id = $1
"""


@pytest.fixture
async def rooms(module_database: Database) -> AsyncIterator[Rooms]:
    """Yield an engine and a teller on the module's city."""
    async with open_rooms(module_database.application_url) as rooms:
        yield rooms


async def budget_of(engine: AsyncEngine, code: str) -> tuple[int, UUID, int]:
    """Return a programme's number, its budget account and what is in it."""
    async with read(engine) as connection:
        number, account_id, budget_yen = (await connection.execute(BUDGET, {"code": code})).one()
    return number, account_id, budget_yen


async def funded_yen(engine: AsyncEngine) -> int:
    """Return what the city has given to all programmes."""
    async with read(engine) as connection:
        found = await connection.execute(FUNDED, {"id": FUNDING_ACCOUNT_ID})
        return found.scalar_one_or_none() or 0


async def test_a_voucher_is_funded_with_the_premium_on_every_set(rooms: Rooms) -> None:
    engine, teller = rooms
    before_yen = await funded_yen(engine)
    created = await make_programme(teller, voucher_draft("funded"))
    assert created.new
    number, _, budget_yen = await budget_of(engine, "funded")
    assert (number, budget_yen) == (created.number, 1_250 * 100)
    assert await funded_yen(engine) - before_yen == 1_250 * 100


async def test_a_given_budget_goes_before_the_premium(rooms: Rooms) -> None:
    engine, teller = rooms
    await make_programme(teller, free_draft("given", budget_yen=777))
    await make_programme(teller, free_draft("nothing", budget_yen=0))
    assert (await budget_of(engine, "given"))[2] == 777
    assert (await budget_of(engine, "nothing"))[2] == 0


async def test_the_same_programme_again_is_found_and_not_funded_again(rooms: Rooms) -> None:
    engine, teller = rooms
    first = await make_programme(teller, free_draft("again"))
    before_yen = await funded_yen(engine)
    second = await make_programme(teller, free_draft("again"))
    assert (second.programme_id, second.number, second.new) == (
        first.programme_id,
        first.number,
        False,
    )
    assert await funded_yen(engine) == before_yen


async def test_a_code_with_other_terms_is_refused(rooms: Rooms) -> None:
    _, teller = rooms
    await make_programme(teller, free_draft("taken"))
    with pytest.raises(RefusedError) as refused:
        await make_programme(teller, free_draft("taken", last_day=date(2026, 12, 31)))
    assert refused.value.refusal.code == "programme_exists"
    assert refused.value.refusal.facts == {"programme": "taken"}


async def test_an_invalid_draft_creates_nothing(rooms: Rooms) -> None:
    engine, teller = rooms
    before_yen = await funded_yen(engine)
    with pytest.raises(RefusedError) as refused:
        await make_programme(teller, voucher_draft("bad", frame_=frame(price_yen=0)))
    assert refused.value.refusal.code == "programme_invalid"
    assert len(refused.value.refusal.facts["problems"]) == 1
    assert await funded_yen(engine) == before_yen


async def test_nothing_is_funded_while_everything_is_stopped(database: Database) -> None:
    async with make_city(database.application_url) as city:
        await engage(city, "all")
        with pytest.raises(RefusedError) as stopped:
            await make_programme(city.teller, free_draft("late"))
        assert stopped.value.refusal.code == "service_stopped"
        await release(city, "all")
        assert (await make_programme(city.teller, free_draft("late"))).new


async def test_two_tellers_give_numbers_without_gaps_or_repeats(database: Database) -> None:
    url = database.application_url
    async with (
        open_rooms(url, lanes=1) as (engine, one),
        open_rooms(url, lanes=1) as (_, other),
    ):
        drafts = [free_draft(f"p{n // 2}", budget_yen=10) for n in range(8)]
        tellers = [one, other] * 4
        created = await asyncio.gather(*map(make_programme, tellers, drafts))
        async with read(engine) as connection:
            numbers = list((await connection.execute(NUMBERS)).scalars())
        assert numbers == [1, 2, 3, 4]
        assert sum(each.new for each in created) == 4
        assert await funded_yen(engine) == 40


async def test_a_budget_is_funded_once_for_each_id(rooms: Rooms) -> None:
    engine, teller = rooms
    await make_programme(teller, free_draft("more", budget_yen=100))
    number, account_id, _ = await budget_of(engine, "more")
    for funding_id in [new_id(now_us=0)] * 2 + [new_id(now_us=0)]:
        await fund_budget(
            teller,
            number=number,
            budget_account_id=account_id,
            funding_id=funding_id,
            amount_yen=50,
        )
    assert (await budget_of(engine, "more"))[2] == 200


async def test_an_id_funds_no_other_amount(rooms: Rooms) -> None:
    engine, teller = rooms
    await make_programme(teller, free_draft("other", budget_yen=100))
    number, account_id, _ = await budget_of(engine, "other")
    funding_id = new_id(now_us=0)
    amounts_yen = iter((50, 60))

    async def fund() -> None:
        await fund_budget(
            teller,
            number=number,
            budget_account_id=account_id,
            funding_id=funding_id,
            amount_yen=next(amounts_yen),
        )

    await fund()
    with pytest.raises(RefusedError) as refused:
        await fund()
    assert refused.value.refusal.facts == {"reason": "exists_with_different_amount"}
    assert (await budget_of(engine, "other"))[2] == 150


async def test_a_shelf_reads_a_programme_again_when_its_version_has_changed(
    module_database: Database, rooms: Rooms
) -> None:
    _, teller = rooms
    created = await make_programme(teller, free_draft("shelved"))
    connection = await connect(module_database.application_url, application_name="tests")
    shelf = ProgrammeShelf()
    try:
        first = (await shelf.take(connection, {created.programme_id: 1}))[created.programme_id]
        await connection.execute(RENAME, created.programme_id)
        kept = (await shelf.take(connection, {created.programme_id: 1}))[created.programme_id]
        fresh = (await shelf.take(connection, {created.programme_id: 2}))[created.programme_id]
    finally:
        await connection.close()
    assert (first.name, first.version, first.number) == ("地域コイン", 1, created.number)
    assert kept is first
    assert (fresh.name, fresh.version) == ("新しい名前", 2)
