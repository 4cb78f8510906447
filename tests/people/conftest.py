"""One database for all tests of a module that ask for it."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.factories.phones import open_engine
from tests.servers import Database


@pytest.fixture
async def city(module_database: Database) -> AsyncIterator[AsyncEngine]:
    """Yield an engine on the module's database."""
    async with open_engine(module_database.application_url) as engine:
        yield engine
