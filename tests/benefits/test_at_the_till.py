"""A benefit at the till: only where it may be spent, and no shop hears what it is."""

from collections.abc import AsyncIterator

import httpx2 as httpx
import pytest
import pytest_asyncio

from tests.api.answers import problem_of
from tests.factories.benefits import BENEFIT, NAME, Office, make_office, wallet_row
from tests.factories.city import City, make_city
from tests.factories.merchants import Merchant, make_merchant
from tests.factories.people import make_wallet
from tests.factories.tills import PAYMENTS, Till, open_till
from tests.servers import Database
from wallet.api.render import OTHER
from wallet.core.ids import public_id

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def city(module_database: Database) -> AsyncIterator[City]:
    """Yield a city whose wallets are empty but for what the benefit brings."""
    async with make_city(module_database.application_url, yen=0) as city:
        yield city


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def till(city: City) -> AsyncIterator[Till]:
    """Yield the city's till."""
    async with open_till(city) as till:
        yield till


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def office(city: City) -> Office:
    """Return the office of a benefit."""
    return await make_office(city.engine, city.teller, city.database_url)


async def pay_in(
    till: Till, shop: Merchant, office: Office
) -> tuple[httpx.Response, dict[str, str]]:
    """Pay in a shop out of a wallet that has nothing but a benefit; return the shop's key too."""
    wallet_id = await make_wallet(office.engine)
    await office.approved(wallet_row(wallet_id))
    await office.work()
    (code,) = await till.city.codes(wallet_id=wallet_id)
    body = till.body(code, terminal_id=public_id("ter", shop.terminal_id))
    as_shop = {"Authorization": f"Bearer {shop.api_key}"}
    return await till.pay(body, **as_shop), as_shop


@pytest.mark.parametrize(("category", "status"), [("childcare", 201), ("groceries", 402)])
async def test_a_shop_is_never_told_the_name_of_a_benefit(
    office: Office, till: Till, category: str, status: int
) -> None:
    shop = await make_merchant(office.engine, office.teller, category=category)
    answer, as_shop = await pay_in(till, shop, office)
    assert answer.status_code == status, answer.text
    listed = await till.client.get(PAYMENTS, headers=as_shop)
    assert len(listed.json()["data"]) == 1
    for told in (answer.text, listed.text):
        assert BENEFIT not in told
        assert NAME not in told


async def test_a_benefit_pays_where_it_may_be_spent_as_money_like_any_other(
    office: Office, till: Till
) -> None:
    shop = await make_merchant(office.engine, office.teller, category="childcare")
    answer, as_shop = await pay_in(till, shop, office)
    assert answer.status_code == 201, answer.text
    payment = answer.json()
    (funding,) = payment["funding"]
    assert (funding["programme"], funding["class"]) == (OTHER, "free")
    # Once more, from what was written down.
    again = await till.client.get(f"{PAYMENTS}/{payment['id']}", headers=as_shop)
    assert again.json() == payment


async def test_a_benefit_pays_nowhere_else(office: Office, till: Till) -> None:
    answer, _ = await pay_in(till, till.city.merchant, office)
    problem_of(answer, "merchant_not_eligible")
