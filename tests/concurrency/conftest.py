"""A rush at two tills, and the proof of every yen after it."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from tests.concurrency.rush import Rush
from tests.factories.city import make_city
from tests.factories.tills import open_till
from tests.servers import Database
from wallet.proof import prove


@pytest.fixture
async def rush(module_database: Database) -> AsyncIterator[Rush]:
    """Yield a city with two tills; whatever happens there must be provable afterwards."""
    async with AsyncExitStack() as stack:
        city = await stack.enter_async_context(make_city(module_database.application_url))
        tills = [await stack.enter_async_context(open_till(city)) for _ in range(2)]
        yield Rush(city=city, tills=tills)
        proof = await prove(city.engine, now_us=city.clock())
        differences = [one.sentence for check in proof.checks for one in check.findings]
        assert proof.ok, "\n".join(differences)
