"""One city with one open till for all tests of a module."""

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.factories.city import City, make_city
from tests.factories.offices import Counter, open_counter
from tests.factories.tills import Till, open_till
from tests.servers import Database


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def city(module_database: Database) -> AsyncIterator[City]:
    """Yield a city."""
    async with make_city(module_database.application_url, yen=1_000_000) as city:
        yield city


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def till(city: City) -> AsyncIterator[Till]:
    """Yield a till in the city."""
    async with open_till(city) as till:
        yield till


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def counter(module_database: Database) -> AsyncIterator[Counter]:
    """Yield the doors of staff in a city of their own."""
    async with open_counter(module_database.application_url) as counter:
        yield counter
