"""One engine and one phone for each test, on a database that the tests of a module share."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.factories.challenges import give_pin
from tests.factories.phones import Phone, make_phone, open_engine
from tests.servers import Database


@pytest.fixture
async def engine(module_database: Database) -> AsyncIterator[AsyncEngine]:
    """Yield an engine of the application's role."""
    async with open_engine(module_database.application_url) as engine:
        yield engine


@pytest.fixture
async def phone(engine: AsyncEngine) -> Phone:
    """Return a phone that is signed in, with a PIN and a second key."""
    phone = await make_phone(engine)
    await give_pin(engine, phone)
    return phone
