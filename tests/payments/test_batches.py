"""What a batch costs, and that its statements never read a whole table."""

import re

import pytest

from tests.factories.city import City, make_city
from tests.factories.payments import ask_together, by_card, fresh, make_payer
from tests.factories.people import make_card
from tests.servers import Database
from wallet.core.database import Connection, connect
from wallet.ledger.teller import Teller
from wallet.payments import by_phone, history, queries, record, step_up, storage, waiting
from wallet.payments.pay import Paid
from wallet.payments.rules import PayRequest

STATEMENTS = {
    f"{module.__name__}.{name}": text
    for module in (storage, queries, history, waiting, step_up, by_phone, record)
    for name, text in vars(module).items()
    if name.startswith("_")
    and isinstance(text, str)
    and re.match(r"\s*(SELECT|INSERT|UPDATE|WITH)\b[^{]*\Z", text)
}


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


async def test_a_batch_of_fifty_asks_the_database_no_more_often_than_one_of_two(
    database: Database,
) -> None:
    asked: list[str] = []

    async def connect_and_listen() -> Connection:
        connection = await connect(database.application_url, application_name="tests")
        connection.add_query_logger(lambda record: asked.append(record.query))
        return connection

    async with make_city(database.application_url) as city:
        few, many = await requests_of(city, 2), await requests_of(city, 50)
        warm = await requests_of(city, 2)
        teller = Teller(connect=connect_and_listen, clock=city.clock, lanes=1)
        await teller.start()
        listening = City(**{**vars(city), "teller": teller})
        try:
            counts = []
            for requests in (warm, few, many):
                asked.clear()
                answers = await ask_together(listening, requests)
                assert all(isinstance(one, Paid) for one in answers)
                counts.append(len(asked))
        finally:
            await teller.close()
    # The first batch reads the programmes and the shop's account, which the later ones remember.
    assert counts[1] == counts[2] <= counts[0], "\n".join(asked)
    assert asked.count("BEGIN") == asked.count("COMMIT") == 1


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
