"""Cards: told once, kept as a hash, printed with a number that pays nothing."""

from collections.abc import AsyncIterator
from datetime import date
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.factories.moments import NOW_US, PEPPER
from tests.factories.people import make_card, make_wallet
from tests.servers import Database
from wallet.core.database import make_engine, read
from wallet.core.ids import keyed_hash
from wallet.core.refusals import RefusedError
from wallet.people.issue_cards import NewCard, issue_cards
from wallet.people.rules import read_printed_number

CARD = text("""
SELECT c.wallet_id, c.printed_number, c.number_hash, c.state, c.payment_limit_yen,
       c.daily_limit_yen, s.spent_on, s.spent_yen
FROM card AS c JOIN spending AS s ON s.holder_id = c.id WHERE c.id = :id
""")
EVERYTHING = text("SELECT card::text FROM card WHERE id = :id")
COUNT = text("SELECT count(*) FROM card")


@pytest.fixture
async def engine(module_database: Database) -> AsyncIterator[AsyncEngine]:
    """Yield an engine on the module's city."""
    engine = make_engine(module_database.application_url, pool_size=2, application_name="tests")
    yield engine
    await engine.dispose()


async def count_cards(engine: AsyncEngine) -> int:
    """Return how many cards there are."""
    async with read(engine) as connection:
        count: int = (await connection.execute(COUNT)).scalar_one()
    return count


async def test_a_card_is_kept_as_a_hash_with_small_limits(engine: AsyncEngine) -> None:
    wallet_id = await make_wallet(engine)
    card = await make_card(engine, wallet_id)
    async with read(engine) as connection:
        row = (await connection.execute(CARD, {"id": card.id})).one()
        everything = (await connection.execute(EVERYTHING, {"id": card.id})).scalar_one()
    assert row == (
        wallet_id,
        card.number,
        keyed_hash(card.qr_value, pepper=PEPPER),
        "active",
        3_000,
        30_000,
        date(2026, 11, 25),
        0,
    )
    assert card.qr_value not in everything
    assert card.qr_value.removeprefix("card_") not in everything


async def test_a_card_has_the_limits_it_was_asked_for(engine: AsyncEngine) -> None:
    wallet_id = await make_wallet(engine)
    card = await make_card(engine, wallet_id, payment_limit_yen=10, daily_limit_yen=20)
    async with read(engine) as connection:
        row = (await connection.execute(CARD, {"id": card.id})).one()
    assert (row.payment_limit_yen, row.daily_limit_yen) == (10, 20)


async def test_many_cards_come_in_the_order_of_their_wallets(engine: AsyncEngine) -> None:
    wallet_ids = [await make_wallet(engine) for _ in range(3)]
    cards = [NewCard(wallet_ids[n % 3]) for n in range(9)]
    issued = await issue_cards(engine, cards=cards, pepper=PEPPER, now_us=NOW_US)
    assert [card.wallet_id for card in issued] == [card.wallet_id for card in cards]
    assert len({card.qr_value for card in issued}) == len({card.number for card in issued}) == 9
    assert all(read_printed_number(card.number) for card in issued)
    # 160 random bits, of which a guesser knows nothing.
    assert all(len(card.qr_value) == len("card_") + 32 for card in issued)


async def test_a_card_for_an_unknown_wallet_keeps_all_others_back(engine: AsyncEngine) -> None:
    before = await count_cards(engine)
    stranger = uuid4()
    cards = [NewCard(await make_wallet(engine)), NewCard(stranger)]
    with pytest.raises(RefusedError) as refused:
        await issue_cards(engine, cards=cards, pepper=PEPPER, now_us=NOW_US)
    assert refused.value.refusal.code == "wallet_unknown"
    assert refused.value.refusal.facts == {"wallet_id": stranger}
    assert await count_cards(engine) == before


async def test_a_number_that_is_taken_is_drawn_again(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    wallet_id = await make_wallet(engine)
    taken = await make_card(engine, wallet_id)
    draws = iter([int(taken.number[:11]), 5, 5, 6, 7])
    monkeypatch.setattr("secrets.randbelow", lambda _: next(draws))
    cards = [NewCard(wallet_id)] * 3
    issued = await issue_cards(engine, cards=cards, pepper=PEPPER, now_us=NOW_US)
    numbers = {card.number for card in issued}
    assert {number[:11] for number in numbers} == {f"{n:011}" for n in (5, 6, 7)}
    assert taken.number not in numbers
