"""The numbers through the doors of staff: every cell for them, and a form for everybody else."""

import csv
import io
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio

from tests.api.answers import problem_of
from tests.factories.city import City, make_city
from tests.factories.offices import Counter, open_counter
from tests.factories.people import make_wallet
from tests.factories.vouchers import give
from tests.servers import Database
from wallet.opendata.numbers import COLUMNS, MEASURES

pytestmark = pytest.mark.asyncio(loop_scope="module")

NUMBERS = "/office/v1/numbers"


@dataclass(frozen=True, kw_only=True)
class Hall:
    """A city and the doors of its staff."""

    city: City
    counter: Counter


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hall(module_database: Database) -> AsyncIterator[Hall]:
    """Yield a city in which twelve people have coin."""
    url = module_database.application_url
    async with make_city(url, yen=1_000) as city, open_counter(url) as counter:
        for _ in range(11):
            await give(city.teller, await make_wallet(city.engine), amount_yen=100)
        yield Hall(city=city, counter=counter)


async def test_staff_see_every_programme_and_that_is_kept(hall: Hall) -> None:
    clerk = await hall.counter.seat("programme_clerk")
    shown = (await clerk.get(NUMBERS)).json()
    (coin,) = shown["programmes"]
    assert (coin["programme"], coin["total"]["wallets"]) == ("coin", 12)
    assert coin["total"]["outstanding_yen"] == 2_100
    assert shown["circulation"]["leakage"] is None
    entry = (await hall.counter.trail())[-1]
    assert entry["action"] == "numbers.view"
    assert entry["details"] == {"until": "2026-11-25", "public": 0}


async def test_the_public_form_is_asked_for_by_name(hall: Hall) -> None:
    clerk = await hall.counter.seat("benefit_clerk")
    shown = (await clerk.get(NUMBERS, params={"public": "true", "programme": "coin"})).json()
    assert shown["public"] is True
    (coin,) = shown["programmes"]
    assert coin["total"]["suppressed"] is False


@pytest.mark.parametrize(("table", "head"), [("cells", COLUMNS), ("circulation", MEASURES)])
async def test_a_table_can_be_taken_along(hall: Hall, table: str, head: tuple[str, ...]) -> None:
    clerk = await hall.counter.seat("programme_clerk")
    response = await clerk.get(f"{NUMBERS}.csv", params={"table": table})
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    assert "filename*=UTF-8''" in response.headers["content-disposition"]
    text = response.content.decode("utf-8-sig")
    rows = list(csv.reader(io.StringIO(text, newline="")))
    assert tuple(rows[0]) == head
    assert len(rows) > 1


async def test_a_period_and_a_programme_that_are_not_there_are_refused(hall: Hall) -> None:
    clerk = await hall.counter.seat("programme_clerk")
    backwards = {"since": "2026-11-25", "until": "2026-11-24"}
    problem_of(await clerk.get(NUMBERS, params=backwards), "period_invalid")
    # The second could be somebody's telephone number, and stands in no trail.
    for programme in ("nothing", "0901234567"):
        nothing = await clerk.get(NUMBERS, params={"programme": programme})
        problem_of(nothing, "programme_unknown")
