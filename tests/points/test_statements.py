"""Statements of points never read a whole table; a batch of many asks no more than one of two."""

import asyncio
import re

import pytest

from tests.factories.city import make_city
from tests.factories.points import attend, make_event, make_person, make_points
from tests.payments.test_batches import is_look_up, listening, plan_of
from tests.servers import Database
from wallet.points import (
    attend as attend_module,
)
from wallet.points import (
    bonus_due,
    charge,
    claim,
    exchange,
    parties,
    shops,
    step_ups,
    storage,
    walk,
)
from wallet.points.attend import Attended

MODULES = (
    *(attend_module, bonus_due, charge, claim, exchange),
    *(parties, shops, step_ups, storage, walk),
)

STATEMENTS = {
    f"{module.__name__}.{name}": text
    for module in MODULES
    for name, text in vars(module).items()
    if name.startswith("_")
    and isinstance(text, str)
    and re.match(r"\s*(SELECT|INSERT|UPDATE|WITH)\b[^{]*\Z", text)
}


@pytest.mark.parametrize("name", STATEMENTS)
async def test_a_statement_planned_on_empty_tables_looks_up_by_key(
    module_database: Database, name: str
) -> None:
    plan = await plan_of(module_database, STATEMENTS[name])
    assert is_look_up(plan), plan


async def test_a_batch_of_thirty_asks_the_database_no_more_often_than_one_of_two(
    database: Database,
) -> None:
    async with make_city(database.application_url) as city, listening(city) as (heard, asked):
        event_id = await make_event(city.engine, await make_points(city.teller))
        counts = []
        for count in (2, 2, 30):
            people = [await make_person(city.engine) for _ in range(count)]
            asked.clear()
            answers = await asyncio.gather(
                *[attend(heard.teller, person, event_id) for person in people]
            )
            assert all(isinstance(one, Attended) for one in answers)
            counts.append(len(asked))
    assert counts[1] == counts[2] <= counts[0], "\n".join(asked)


def test_the_statements_are_looked_at() -> None:
    assert len(STATEMENTS) > 15
    assert {name.rpartition(".")[0] for name in STATEMENTS} == {
        module.__name__ for module in MODULES
    }
