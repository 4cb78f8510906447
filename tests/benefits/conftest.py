"""One city with a benefit for all tests of a module."""

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.factories.benefits import Office, make_office
from tests.factories.city import open_rooms
from tests.servers import Database


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def office(module_database: Database) -> AsyncIterator[Office]:
    """Yield the office of a benefit."""
    url = module_database.application_url
    async with open_rooms(url) as (engine, teller):
        yield await make_office(engine, teller, url)
