"""An engine on the module's database, for everything that needs no city."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.servers import Database
from wallet.core.database import make_engine


@pytest.fixture
async def engine(module_database: Database) -> AsyncIterator[AsyncEngine]:
    """Yield an engine of the application's role."""
    engine = make_engine(module_database.application_url, pool_size=3, application_name="tests")
    yield engine
    await engine.dispose()
