"""One city for all tests of a module; each opens wallets of its own in it."""

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.factories.city import City, make_city
from tests.servers import Database


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def city(module_database: Database) -> AsyncIterator[City]:
    """Yield a city whose teller has one lane, so that what is asked at once is one batch."""
    async with make_city(module_database.application_url, lanes=1) as city:
        yield city
