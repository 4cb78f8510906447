"""A clock, a teller and connections on the module's database; tests use accounts of their own."""

from collections.abc import AsyncIterator

import pytest

from tests.factories.ledger import open_connection, open_teller
from tests.factories.moments import NOW_US
from tests.ledger.notes import TABLE
from tests.servers import Database
from wallet.core.clock import TestClock
from wallet.core.database import Connection
from wallet.ledger.teller import Teller


@pytest.fixture
def clock() -> TestClock:
    """A clock that stands at noon."""
    return TestClock(NOW_US)


@pytest.fixture
async def teller(module_database: Database, clock: TestClock) -> AsyncIterator[Teller]:
    """A teller with one lane: what is submitted without waiting is one batch."""
    async with open_teller(module_database.application_url, clock=clock) as teller:
        yield teller


@pytest.fixture
async def connection(module_database: Database) -> AsyncIterator[Connection]:
    """A connection of the application's role, to look at what is stored."""
    async with open_connection(module_database.application_url) as connection:
        yield connection


@pytest.fixture
async def owner(module_database: Database) -> AsyncIterator[Connection]:
    """A connection of the role that owns the tables."""
    async with open_connection(module_database.owner_url) as connection:
        yield connection


@pytest.fixture
async def table(owner: Connection) -> Connection:
    """The table of notes, empty, and a connection to look at it."""
    await owner.execute(TABLE)
    return owner
