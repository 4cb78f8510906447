"""Benefits in the app: seen, claimed with a letter or without, for oneself and for others."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from tests.api.answers import problem_of
from tests.benefits.people import guard
from tests.factories.apps import App
from tests.factories.benefits import BENEFIT, BORN, NAME, YEN, Office, make_office, plant_offer, row
from tests.factories.city import City, make_city
from tests.factories.people import make_wallet
from tests.factories.pockets import Pocket, open_pocket
from tests.factories.residents import Resident, make_resident
from tests.servers import Database
from wallet.core.database import write
from wallet.core.ids import public_id
from wallet.people.persons import find_person, raise_tier
from wallet.people.rules import Tier

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATH = "/app/v1/benefits"
FREEZE = text("UPDATE person SET state = 'frozen', frozen_because = 'counter' WHERE id = :id")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def welfare(city: City) -> Office:
    """Return the office of a benefit in the module's city."""
    return await make_office(city.engine, city.teller, city.database_url)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def city(module_database: Database) -> AsyncIterator[City]:
    """Yield a city."""
    async with make_city(module_database.application_url) as city:
        yield city


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def app(city: City) -> AsyncIterator[App]:
    """Yield the app's doors."""
    pocket: Pocket
    async with open_pocket(city) as pocket:
        yield pocket.app


async def proven(app: App) -> Resident:
    """Return somebody whom the counter has proven."""
    resident = await make_resident(app.engine)

    async def work(connection: AsyncConnection) -> None:
        person = await find_person(connection, person_id=resident.id)
        assert person is not None
        await raise_tier(connection, person=person, tier=Tier.COUNTER)

    await write(app.engine, work)
    return resident


async def letter_for(welfare: Office, **changes: object) -> dict[str, str]:
    """Return what is typed from a letter about a new benefit."""
    run_id = await welfare.approved(row(**changes))
    await welfare.work()
    (letter,) = await welfare.letters(run_id)
    return {"code": letter.code, "birthdate": BORN.isoformat()}


async def seen(app: App, resident: Resident) -> list[dict[str, Any]]:
    """Return the benefits that somebody sees."""
    answer = await app.call(resident.phone, "GET", PATH)
    assert answer.status_code == 200, answer.text
    data: list[dict[str, Any]] = answer.json()["data"]
    return data


async def test_a_letter_brings_the_money_and_the_app_says_how_far_it_is(
    app: App, welfare: Office
) -> None:
    resident = await proven(app)
    typed = await letter_for(welfare)
    answer = await app.call(resident.phone, "POST", f"{PATH}/claims", typed)
    assert answer.status_code == 202, answer.text
    claimed = answer.json()
    assert claimed["wallet_id"] == public_id("wal", resident.wallet_id)
    assert claimed["state"] == "claimed"
    (one,) = await seen(app, resident)
    assert (one["id"], one["name"], one["amount"]) == (claimed["id"], NAME, YEN)
    assert (one["state"], one["claim_until"]) == ("claimed", "2027-02-28")
    await welfare.work()
    (one,) = await seen(app, resident)
    assert (one["state"], one["last_day"]) == ("granted", "2027-03-31")
    assert await welfare.held(resident.wallet_id) == {BENEFIT: YEN}


async def test_a_wrong_birthday_and_a_used_code_hear_the_same(app: App, welfare: Office) -> None:
    resident = await make_resident(app.engine)
    typed = await letter_for(welfare)
    wrong = {**typed, "birthdate": "1990-01-01"}
    problem_of(await app.call(resident.phone, "POST", f"{PATH}/claims", wrong), "claim_code_wrong")
    right = await app.call(resident.phone, "POST", f"{PATH}/claims", typed)
    assert right.status_code == 202
    problem_of(await app.call(resident.phone, "POST", f"{PATH}/claims", typed), "claim_code_wrong")


async def test_a_parent_claims_for_the_child(app: App, welfare: Office) -> None:
    parent = await proven(app)
    child_id = await make_wallet(app.engine)
    await guard(app.engine, parent.id, child_id)
    typed = {**await letter_for(welfare), "wallet_id": public_id("wal", child_id)}
    answer = await app.call(parent.phone, "POST", f"{PATH}/claims", typed)
    assert answer.json()["wallet_id"] == typed["wallet_id"]
    await welfare.work()
    assert await welfare.held(child_id) == {BENEFIT: YEN}


async def test_who_is_known_claims_with_one_tap_and_no_code(app: App) -> None:
    resident = await proven(app)
    grant_id = await plant_offer(app.engine, person_id=resident.id)
    path = f"{PATH}/{public_id('grt', grant_id)}/claim"
    answer = await app.call(resident.phone, "POST", path, {})
    assert (answer.status_code, answer.json()["state"]) == (202, "claimed")
    problem_of(await app.call(resident.phone, "POST", path, {}), "benefit_offer_unknown")


async def test_who_is_not_proven_is_told_how_to_claim(app: App) -> None:
    resident = await make_resident(app.engine)
    grant_id = await plant_offer(app.engine, person_id=resident.id)
    path = f"{PATH}/{public_id('grt', grant_id)}/claim"
    problem_of(await app.call(resident.phone, "POST", path, {}), "claim_not_proven")


@pytest.mark.parametrize(
    "body",
    [
        {"code": "K7M2-3PQR-9XYZ"},
        {"code": "K7M2-3PQR-9XYZ", "birthdate": "1.4.2019"},
        {"code": "", "birthdate": "2019-04-01"},
        {"code": "x" * 33, "birthdate": "2019-04-01"},
        {"code": "K7M2-3PQR-9XYZ", "birthdate": "2019-04-01", "amount": 5},
    ],
    ids=str,
)
async def test_what_is_no_claim_is_refused_before_it_counts(
    app: App, body: dict[str, object]
) -> None:
    resident = await make_resident(app.engine)
    answer = await app.call(resident.phone, "POST", f"{PATH}/claims", body)
    problem_of(answer, "request_invalid")


async def test_who_is_frozen_sees_what_is_theirs_and_claims_nothing(app: App) -> None:
    resident = await proven(app)
    grant_id = await plant_offer(app.engine, person_id=resident.id)
    await write(app.engine, lambda one: one.execute(FREEZE, {"id": resident.id}))
    assert len(await seen(app, resident)) == 1
    path = f"{PATH}/{public_id('grt', grant_id)}/claim"
    problem_of(await app.call(resident.phone, "POST", path, {}), "account_frozen")
    nobody = f"{PATH}/grt_{uuid4().hex}/claim"
    problem_of(
        await app.call((await proven(app)).phone, "POST", nobody, {}), "benefit_offer_unknown"
    )
