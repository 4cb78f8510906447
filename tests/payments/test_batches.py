"""What a batch costs, and that its statements never read a whole table."""

import re
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager

import pytest

from tests.factories.approvals import ask_at_once, by_phone, make_rich, shown_by, signed_answer
from tests.factories.city import City, make_city
from tests.factories.payments import ask_together, by_card, fresh, make_payer
from tests.factories.people import make_card
from tests.servers import Database
from wallet.core.database import Connection, connect
from wallet.ledger.teller import Teller
from wallet.payments import by_phone as by_phone_module
from wallet.payments import history, queries, record, step_up, storage, waiting
from wallet.payments.pay import Paid
from wallet.payments.rules import Payment, PayRequest

STATEMENTS = {
    f"{module.__name__}.{name}": text
    for module in (storage, queries, history, waiting, step_up, by_phone_module, record)
    for name, text in vars(module).items()
    if name.startswith("_")
    and isinstance(text, str)
    and re.match(r"\s*(SELECT|INSERT|UPDATE|WITH)\b[^{]*\Z", text)
}

OF_STEP_UP = {name for name in STATEMENTS if re.search(r"\.(step_up|waiting|by_phone)\.", name)}


async def requests_of(city: City, count: int) -> list[PayRequest]:
    """Return requests of as many wallets, half of them by card, one in ten without money."""
    requests = []
    for number in range(count):
        wallet_id = await make_payer(city, yen=0 if number % 10 == 9 else 2_000)
        if number % 2:
            requests.append(await fresh(city, wallet_id))
        else:
            card = await make_card(city.engine, wallet_id)
            requests.append(by_card(city, card.qr_value))
    return requests


@asynccontextmanager
async def listening(city: City) -> AsyncIterator[tuple[City, list[str]]]:
    """Yield the city with a teller of one lane, and what that has asked the database for."""
    asked: list[str] = []

    async def connect_and_listen() -> Connection:
        connection = await connect(city.database_url, application_name="tests")
        connection.add_query_logger(lambda record: asked.append(record.query))
        return connection

    teller = Teller(connect=connect_and_listen, clock=city.clock, lanes=1)
    await teller.start()
    try:
        yield City(**{**vars(city), "teller": teller}), asked
    finally:
        await teller.close()


async def test_a_batch_of_fifty_asks_the_database_no_more_often_than_one_of_two(
    database: Database,
) -> None:
    async with make_city(database.application_url) as city, listening(city) as (heard, asked):
        counts = []
        for requests in [await requests_of(city, count) for count in (2, 2, 50)]:
            asked.clear()
            answers = await ask_together(heard, requests)
            assert all(isinstance(one, Paid) for one in answers)
            counts.append(len(asked))
    # The first batch reads the programmes and the shop's account, which the later ones remember.
    assert counts[1] == counts[2] <= counts[0], "\n".join(asked)
    assert asked.count("BEGIN") == asked.count("COMMIT") == 1
    # Nobody in it had to be asked for more, and so nothing was looked up for that.
    assert heard_of(asked)
    assert not heard_of(asked) & OF_STEP_UP


async def test_payments_that_wait_and_their_answers_are_settled_in_batches_as_well(
    database: Database,
) -> None:
    async with make_city(database.application_url) as city, listening(city) as (heard, asked):
        counts: dict[str, list[int]] = {"scan": [], "answer": [], "pay": []}
        for payers in [[await make_rich(city) for _ in range(count)] for count in (2, 2, 20)]:
            scans = [await shown_by(city, payer) for payer in payers]
            asked.clear()
            waiting = await decided(heard, scans, state="requires_step_up")
            counts["scan"].append(len(asked))
            assert heard_of(asked) & OF_STEP_UP
            pairs = zip(payers, waiting, strict=True)
            answers = [await signed_answer(city, payer.phone, one) for payer, one in pairs]
            asked.clear()
            await decided(heard, answers, state="succeeded")
            counts["answer"].append(len(asked))
            small = [by_phone(city, payer.phone, amount_yen=1_000) for payer in payers]
            asked.clear()
            await decided(heard, small, state="succeeded")
            counts["pay"].append(len(asked))
    for kind, (first, few, many) in counts.items():
        assert few == many <= first, kind


async def decided(city: City, requests: Sequence[object], *, state: str) -> list[Payment]:
    """Submit requests at once and return their payments, which are all in one state."""
    answers = await ask_at_once(city, requests)
    payments = [one.payment for one in answers if isinstance(one, Paid)]
    assert [one.state for one in payments] == [state] * len(requests)
    return payments


def heard_of(asked: Collection[str]) -> set[str]:
    """Return the names of the statements that were asked."""
    return {name for name, text in STATEMENTS.items() if text in asked}


@pytest.mark.parametrize("name", STATEMENTS)
async def test_a_statement_planned_on_empty_tables_looks_up_by_key(
    module_database: Database, name: str
) -> None:
    plan = await plan_of(module_database, STATEMENTS[name])
    assert is_look_up(plan), plan


async def test_a_statement_that_reads_all_payments_is_found(module_database: Database) -> None:
    for planted in (
        "SELECT id FROM payment WHERE description = $1",
        "SELECT id FROM payment WHERE amount_yen > 0 AND id::text = $1",
    ):
        assert not is_look_up(await plan_of(module_database, planted))


def is_look_up(plan: str) -> bool:
    """Whether no table and no index is read as a whole: each scan has a condition on its key."""
    scans = re.findall(r"Index (?:Only )?Scan[^\n]*\n([^\n]*)", plan)
    return "Seq Scan" not in plan and all("Index Cond" in line for line in scans)


async def plan_of(database: Database, statement: str) -> str:
    """Return how the till's connection runs a statement, whatever its parameters will be."""
    connection = await connect(database.application_url, application_name="tests")
    try:
        count = len((await connection.prepare(statement)).get_parameters())
        await connection.execute(f"PREPARE explained AS {statement}")
        nothing = ", ".join(["NULL"] * count)
        rows = await connection.fetch(f"EXPLAIN EXECUTE explained ({nothing})")
    finally:
        await connection.close()
    return "\n".join(row[0] for row in rows)


async def test_requests_of_one_batch_are_decided_in_the_order_of_arrival(
    database: Database,
) -> None:
    async with make_city(database.application_url, yen=3_000, lanes=1) as city:
        requests = [await fresh(city, city.wallet_id, amount_yen=700) for _ in range(5)]
        answers = await ask_together(city, requests)
    paid = [one.payment.refusal is None for one in answers if isinstance(one, Paid)]
    assert paid == [True, True, True, True, False]
