"""One city for all tests of a module."""

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.factories.city import City, make_city
from tests.servers import Database


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def city(module_database: Database) -> AsyncIterator[City]:
    """Yield a city."""
    async with make_city(module_database.application_url, yen=1_000_000) as city:
        yield city
