"""The proof: each kind of difference between what was said and what is written is found."""

from typing import Final
from uuid import UUID

import pytest
from sqlalchemy import text

from tests.factories.city import City, make_city
from tests.factories.payments import declined, fresh, pay
from tests.servers import Database
from wallet.core.database import read
from wallet.core.ids import public_id
from wallet.ledger.create import create_transfers
from wallet.ledger.rules import Transfer
from wallet.replay.prove import MISSING, Recorded, compare, find_problems
from wallet.replay.send import Outcome

ID: Final = UUID(int=1)
OTHER_ID: Final = UUID(int=2)
PUBLIC_ID: Final = public_id("pay", ID)


def recorded(
    state: str = "succeeded",
    *,
    payment_id: UUID = ID,
    name: str = "line-1",
    amount_yen: int = 100,
    moved_yen: int | None = None,
) -> Recorded:
    """Return a payment as the tables have it, with just what it should have moved by default."""
    if moved_yen is None:
        moved_yen = amount_yen if state == "succeeded" else 0
    return Recorded(payment_id, name, state, amount_yen, moved_yen)


def paid(name: str = "line-1", *, payment_id: str | None = PUBLIC_ID) -> Outcome:
    """Return the outcome of a payment of 100 yen that was acknowledged."""
    return Outcome(name, 100, 1.0, 0, paid=True, payment_id=payment_id)


def refused(*, payment_id: str | None = PUBLIC_ID) -> Outcome:
    """Return the outcome of a payment of 100 yen that was refused."""
    return Outcome("line-1", 100, 1.0, 0, payment_id=payment_id, refusal="balance_insufficient")


PURSE: Final = text("SELECT account_id FROM purse WHERE wallet_id = :wallet_id")
UNANSWERED: Final = Outcome("line-1", 100, 1.0, 7)


@pytest.mark.parametrize(
    ("tables", "answers"),
    [
        ([recorded()], [paid()]),
        ([recorded("declined")], [refused()]),
        ([], [refused(payment_id=None)]),
        # Without an answer, either may have happened.
        ([], [UNANSWERED]),
        ([recorded()], [UNANSWERED]),
        ([recorded("declined")], [UNANSWERED]),
    ],
)
def test_what_agrees_is_no_problem(tables: list[Recorded], answers: list[Outcome]) -> None:
    assert list(compare(tables, answers)) == []


@pytest.mark.parametrize(
    ("tables", "answers", "problems"),
    [
        ([], [paid()], ["line-1 was acknowledged and is not recorded"]),
        ([], [refused()], ["line-1 was acknowledged and is not recorded"]),
        ([recorded()], [], ["line-1 is recorded and was never sent"]),
        ([recorded()], [refused()], ["line-1 was answered balance_insufficient and is succeeded"]),
        ([recorded("declined")], [paid()], ["line-1 was answered paid and is declined"]),
        (
            [recorded(payment_id=OTHER_ID)],
            [paid()],
            [f"line-1 was acknowledged as {PUBLIC_ID}, not {OTHER_ID}"],
        ),
        ([recorded(amount_yen=90)], [paid()], ["line-1 was sent as 100 yen and is 90"]),
        (
            [recorded(moved_yen=200)],
            [paid()],
            ["line-1 is succeeded and moved 200 yen, not 100"],
        ),
        ([recorded(moved_yen=0)], [paid()], ["line-1 is succeeded and moved 0 yen, not 100"]),
        (
            [recorded("declined", moved_yen=100)],
            [refused()],
            ["line-1 is declined and moved 100 yen, not 0"],
        ),
        (
            [recorded(), recorded(payment_id=OTHER_ID)],
            [paid()],
            [
                "line-1 was recorded twice",
                f"line-1 was acknowledged as {PUBLIC_ID}, not {OTHER_ID}",
            ],
        ),
        (
            [recorded(MISSING, payment_id=OTHER_ID, name="x", amount_yen=0, moved_yen=5)],
            [],
            ["x is missing and moved 5 yen, not 0"],
        ),
    ],
)
def test_what_differs_is_told(
    tables: list[Recorded], answers: list[Outcome], problems: list[str]
) -> None:
    assert list(compare(tables, answers)) == problems


def outcome_of(name: str, payment_id: UUID) -> Outcome:
    """Return what the till would have answered to a payment of 1,000 yen."""
    return Outcome(name, 1_000, 1.0, 0, paid=True, payment_id=public_id("pay", payment_id))


async def purse_of(city: City) -> UUID:
    """Return the account of the purse that the city's wallet has."""
    async with read(city.engine) as connection:
        found = await connection.execute(PURSE, {"wallet_id": city.wallet_id})
        purse_id: UUID = found.scalar_one()
    return purse_id


async def test_the_tables_themselves_are_asked(database: Database) -> None:
    async with make_city(database.application_url) as city:
        request = await fresh(city, city.wallet_id)
        payment = await pay(city, request)
        good = outcome_of(request.merchant_payment_id, payment.id)
        short = await fresh(city, city.wallet_id, amount_yen=39_000)
        assert (await declined(city, short)).code == "balance_insufficient"
        bad = Outcome(
            short.merchant_payment_id,
            39_000,
            1.0,
            0,
            payment_id=public_id("pay", short.payment_id),
            refusal="balance_insufficient",
        )
        ids = [city.merchant.id]
        assert await find_problems(city.engine, merchant_ids=ids, outcomes=[good, bad]) == []
        problems = await find_problems(city.engine, merchant_ids=ids, outcomes=[good])
        assert problems == [f"{bad.merchant_payment_id} is recorded and was never sent"]
        lies = [outcome_of(f"lie-{n}", ID) for n in range(25)]
        problems = await find_problems(city.engine, merchant_ids=ids, outcomes=[good, bad, *lies])
        assert problems[0] == "lie-0 was acknowledged and is not recorded"
        assert (len(problems), problems[-1]) == (21, "and 5 more")


async def test_money_that_reached_a_shop_without_a_payment_is_found(database: Database) -> None:
    async with make_city(database.application_url) as city:
        purse_id = await purse_of(city)
        stray = Transfer(
            UUID("01a00000-0000-7000-8000-000000000001"),
            purse_id,
            city.merchant.shop_id,
            70,
            392,
            10,
            user_data_128=OTHER_ID,
        )
        (result,) = await create_transfers(city.teller, [stray])
        assert str(result.code) == "created"
        problems = await find_problems(city.engine, merchant_ids=[city.merchant.id], outcomes=[])
    assert problems == [f"{OTHER_ID} is missing and moved 70 yen, not 0"]
