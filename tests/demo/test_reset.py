"""Resetting: the city is gone as a whole, and a new one can be built in its place."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from rich.progress import Progress
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.factories.moments import NOW_US, PEPPER
from tests.servers import Database, migrate
from wallet.core.clock import TestClock
from wallet.core.database import make_engine, read
from wallet.core.refusals import RefusedError
from wallet.demo.reset import reset_demo
from wallet.demo.seed import DemoSummary, seed_demo

# Everything there is, partitions and all, and what the application may do with it.
RELATIONS = text("""
SELECT relname, relkind::text, relacl::text FROM pg_class
WHERE relnamespace = current_schema()::regnamespace ORDER BY relname
""")
COLUMNS = text("""
SELECT attrelid::regclass::text, attname, attacl::text FROM pg_attribute
WHERE attacl IS NOT NULL AND attrelid::regclass::text !~ '^pg_|[.]' ORDER BY 1, 2
""")
SCHEMA = text("""
SELECT has_schema_privilege(current_schema(), 'USAGE'),
       has_schema_privilege(current_schema(), 'CREATE')
""")


@asynccontextmanager
async def open_engine(database: Database) -> AsyncIterator[AsyncEngine]:
    """Yield an engine and leave no connection behind."""
    engine = make_engine(database.application_url, pool_size=2, application_name="tests")
    try:
        yield engine
    finally:
        await engine.dispose()


async def seed(database: Database, path: Path) -> DemoSummary:
    """Seed the smallest city."""
    async with open_engine(database) as engine:
        return await seed_demo(
            engine=engine,
            database_url=database.application_url,
            pepper=PEPPER,
            livemode=False,
            secrets_path=path,
            clock=TestClock(NOW_US),
            progress=Progress(disable=True),
            wallets=3,
            shops=2,
        )


async def reset(database: Database, path: Path, *, livemode: bool = False) -> str | None:
    """Reset the city and return why it was refused, None when it was not."""
    try:
        await reset_demo(owner_url=database.owner_url, secrets_path=path, livemode=livemode)
    except RefusedError as error:
        return error.refusal.code
    return None


async def house(database: Database) -> list[list[tuple[object, ...]]]:
    """Return the tables of the schema and everybody's rights."""
    async with open_engine(database) as engine, read(engine) as connection:
        return [
            [tuple(row) for row in await connection.execute(query)]
            for query in (RELATIONS, COLUMNS, SCHEMA)
        ]


async def test_a_reset_city_is_migrated_and_seeded_again_as_if_it_were_new(
    database: Database, tmp_path: Path
) -> None:
    path = tmp_path / "demo.json"
    before = await house(database)
    assert all(before)
    first = await seed(database, path)
    assert await reset(database, path) is None
    assert not path.exists()
    assert (await house(database))[0] == []
    await asyncio.to_thread(migrate, database.owner_url)
    assert await house(database) == before
    second = await seed(database, path)
    assert second.seeded
    assert second.circulating_yen == first.circulating_yen
    assert second.secrets.api_key != first.secrets.api_key


async def test_a_city_that_was_never_seeded_can_be_reset_too(
    database: Database, tmp_path: Path
) -> None:
    assert await reset(database, tmp_path / "demo.json") is None
    assert await reset(database, tmp_path / "demo.json") is None


async def test_a_city_that_somebody_works_with_stays_as_it_is(
    database: Database, tmp_path: Path
) -> None:
    path = tmp_path / "demo.json"
    summary = await seed(database, path)
    async with open_engine(database) as engine:
        async with read(engine):
            pass  # Leaves an idle connection in the pool, as a quiet server does.
        assert await reset(database, path) == "demo_in_use"
    assert path.exists()
    again = await seed(database, path)
    assert (again.seeded, again.secrets) == (False, summary.secrets)


async def test_a_live_city_is_never_reset(database: Database, tmp_path: Path) -> None:
    before = await house(database)
    assert await reset(database, tmp_path / "demo.json", livemode=True) == "demo_in_live_mode"
    assert await house(database) == before
