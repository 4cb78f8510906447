"""The planes as they are served, open on one database for the tests of a module."""

from collections.abc import AsyncIterator

import httpx2 as httpx
import pytest_asyncio

from tests.factories.apps import ADDRESS, App
from tests.factories.moments import NOW_US, PEPPER
from tests.factories.offices import Counter
from tests.servers import Database
from wallet.core.clock import TestClock
from wallet.planes import make_office, make_resident
from wallet.settings import Settings


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def app(module_database: Database) -> AsyncIterator[App]:
    """Yield the resident plane."""
    clock = TestClock(NOW_US)
    plane = make_resident(
        Settings(), database_url=module_database.application_url, pepper=PEPPER, clock=clock
    )
    transport = httpx.ASGITransport(plane, raise_app_exceptions=False, client=(ADDRESS, 1))
    client = httpx.AsyncClient(transport=transport, base_url="http://app")
    async with plane.router.lifespan_context(plane), client:
        rooms = plane.state.rooms
        yield App(
            application=plane, client=client, engine=rooms.engine, clock=clock, gate=rooms.gate
        )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def counter(module_database: Database) -> AsyncIterator[Counter]:
    """Yield the office plane."""
    clock = TestClock(NOW_US)
    plane = make_office(
        Settings(), database_url=module_database.application_url, pepper=PEPPER, clock=clock
    )
    transport = httpx.ASGITransport(plane, raise_app_exceptions=False, client=(ADDRESS, 1))
    client = httpx.AsyncClient(transport=transport, base_url="http://office")
    async with plane.router.lifespan_context(plane), client:
        office = plane.state.office
        yield Counter(application=plane, engine=office.engine, client=client, clock=clock)
