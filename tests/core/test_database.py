"""The database's door: what it runs again, what it never commits, and how it connects."""

import asyncio
import socket
import traceback
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from tests.factories.ledger import open_connection
from tests.servers import Database
from wallet.core import database as door
from wallet.core.database import array_literal, connect, make_engine, read, sqlstate_of, write

TABLE = """
DROP TABLE IF EXISTS mark;
DROP FUNCTION IF EXISTS refuse_mark;
CREATE TABLE mark (number integer PRIMARY KEY, value integer NOT NULL DEFAULT 0);
GRANT SELECT, INSERT, UPDATE ON mark TO wallet_app;
CREATE FUNCTION refuse_mark() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'not at the end';
END $$;
CREATE CONSTRAINT TRIGGER mark_is_refused AFTER INSERT ON mark DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW WHEN (NEW.number = 13) EXECUTE FUNCTION refuse_mark();
INSERT INTO mark VALUES (1), (2);
"""


@pytest.fixture
async def engine(module_database: Database) -> AsyncIterator[AsyncEngine]:
    """An engine with two connections, and a table of marks 1 and 2."""
    async with open_connection(module_database.owner_url) as owner:
        await owner.execute(TABLE)
    engine = make_engine(module_database.application_url, pool_size=2, application_name="tests")
    yield engine
    await engine.dispose()


async def marks(engine: AsyncEngine) -> dict[int, int]:
    """Return all marks and their values."""
    async with read(engine) as connection:
        rows = await connection.execute(text("SELECT number, value FROM mark"))
        return {row[0]: row[1] for row in rows}


async def insert(connection: AsyncConnection, number: int) -> None:
    """Add a mark."""
    await connection.execute(text("INSERT INTO mark VALUES (:number)"), {"number": number})


async def test_a_write_is_committed_before_it_returns(engine: AsyncEngine) -> None:
    async def work(connection: AsyncConnection) -> str:
        await insert(connection, 3)
        return "done"

    assert await write(engine, work) == "done"
    assert set(await marks(engine)) == {1, 2, 3}


async def test_a_write_that_raises_leaves_nothing(engine: AsyncEngine) -> None:
    runs = 0

    async def work(connection: AsyncConnection) -> None:
        nonlocal runs
        runs += 1
        await insert(connection, 3)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await write(engine, work)
    assert runs == 1
    assert set(await marks(engine)) == {1, 2}


async def test_a_write_that_is_cancelled_leaves_nothing(engine: AsyncEngine) -> None:
    inserted = asyncio.Event()

    async def work(connection: AsyncConnection) -> None:
        await insert(connection, 3)
        inserted.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(write(engine, work))
    await inserted.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert set(await marks(engine)) == {1, 2}


async def test_a_commit_that_fails_is_never_taken_for_success(engine: AsyncEngine) -> None:
    with pytest.raises(DBAPIError, match="not at the end"):
        await write(engine, lambda connection: insert(connection, 13))
    assert set(await marks(engine)) == {1, 2}


async def test_what_the_database_refuses_is_not_run_again(engine: AsyncEngine) -> None:
    runs = 0

    async def work(connection: AsyncConnection) -> None:
        nonlocal runs
        runs += 1
        await insert(connection, 1)

    with pytest.raises(DBAPIError) as error:
        await write(engine, work)
    assert (sqlstate_of(error.value), runs) == ("23505", 1)


async def test_a_read_is_rolled_back(engine: AsyncEngine) -> None:
    async with read(engine) as connection:
        await insert(connection, 3)
    assert set(await marks(engine)) == {1, 2}


async def add(connection: AsyncConnection, number: int) -> None:
    """Add one to a mark's value."""
    await connection.execute(
        text("UPDATE mark SET value = value + 1 WHERE number = :number"), {"number": number}
    )


async def test_a_deadlock_is_broken_and_the_loser_is_run_again(engine: AsyncEngine) -> None:
    first_has, second_has = asyncio.Event(), asyncio.Event()
    runs: list[str] = []

    async def one(connection: AsyncConnection) -> None:
        runs.append("one")
        await add(connection, 1)
        first_has.set()
        await second_has.wait()
        await add(connection, 2)

    async def other(connection: AsyncConnection) -> None:
        runs.append("other")
        await add(connection, 2)
        second_has.set()
        await first_has.wait()
        await add(connection, 1)

    await asyncio.gather(write(engine, one), write(engine, other))
    assert sorted(runs[:2]) == ["one", "other"]
    assert len(runs) == 3
    assert await marks(engine) == {1: 2, 2: 2}


@pytest.mark.parametrize(("conflicts", "runs_expected"), [(0, 1), (1, 2), (2, 3), (5, 3)])
async def test_a_serialization_failure_is_run_three_times_at_most(
    engine: AsyncEngine, conflicts: int, runs_expected: int
) -> None:
    runs = 0

    async def work(connection: AsyncConnection) -> None:
        nonlocal runs
        runs += 1
        await connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
        await connection.execute(text("SELECT value FROM mark"))
        if runs <= conflicts:
            async with engine.begin() as meanwhile:
                await add(meanwhile, 1)
        await add(connection, 1)

    if conflicts < runs_expected:
        await write(engine, work)
        assert (await marks(engine))[1] == conflicts + 1
    else:
        with pytest.raises(DBAPIError) as error:
            await write(engine, work)
        assert sqlstate_of(error.value) == "40001"
        assert (await marks(engine))[1] == runs_expected
    assert runs == runs_expected


async def test_nobody_waits_long_for_a_connection_and_no_more_are_made(
    module_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_engine(module_database.application_url, pool_size=1, application_name="tests")
    monkeypatch.setattr(engine.pool, "_timeout", 0.05)
    async with read(engine):
        with pytest.raises(PoolTimeoutError):
            async with read(engine):
                pytest.fail("there was a second connection")
    await engine.dispose()


async def test_a_pooled_connection_is_bounded_in_everything(engine: AsyncEngine) -> None:
    async with read(engine) as connection:
        rows = await connection.execute(
            text(
                "SELECT name, setting FROM pg_settings WHERE name IN ('statement_timeout',"
                " 'lock_timeout', 'idle_in_transaction_session_timeout', 'application_name')"
            )
        )
        assert {row[0]: row[1] for row in rows} == {
            "application_name": "tests",
            "statement_timeout": "5000",
            "lock_timeout": "2000",
            "idle_in_transaction_session_timeout": "10000",
        }


async def test_a_connection_for_money_commits_durably_and_plans_look_ups_only(
    module_database: Database,
) -> None:
    connection = await connect(module_database.application_url, application_name="tests")
    try:
        for setting, value in {
            "synchronous_commit": "on",
            "lock_timeout": "2s",
            "plan_cache_mode": "force_generic_plan",
            "enable_seqscan": "off",
            "enable_hashjoin": "off",
            "jit": "off",
        }.items():
            assert await connection.fetchval(f"SHOW {setting}") == value
    finally:
        await connection.close()


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="Linux only")
async def test_a_host_that_falls_silent_is_noticed_within_seconds(
    module_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen by what the kernel is asked for, as a test cannot take a host away."""
    asked: dict[tuple[int, int], int] = {}
    real = socket.socket.setsockopt

    def setsockopt(link: socket.socket, level: int, name: int, value: int) -> None:
        asked[level, name] = value
        real(link, level, name, value)

    monkeypatch.setattr(socket.socket, "setsockopt", setsockopt)
    connection = await connect(module_database.application_url, application_name="tests")
    await connection.close()
    tcp = socket.IPPROTO_TCP
    assert asked[socket.SOL_SOCKET, socket.SO_KEEPALIVE] == 1
    assert asked[tcp, socket.TCP_USER_TIMEOUT] == 6_000
    silent_s = asked[tcp, socket.TCP_KEEPIDLE] + 3 * asked[tcp, socket.TCP_KEEPINTVL]
    assert (silent_s, asked[tcp, socket.TCP_KEEPCNT]) == (6, 3)


@pytest.mark.parametrize(
    ("numbers", "literal"),
    [([], "{}"), ([1], "{1}"), ([1, -2, 2**63 - 1, -(2**63)], f"{{1,-2,{2**63 - 1},{-(2**63)}}}")],
)
async def test_numbers_are_sent_as_one_literal(
    module_database: Database, numbers: list[int], literal: str
) -> None:
    assert array_literal(iter(numbers)) == literal
    async with open_connection(module_database.application_url) as connection:
        assert await connection.fetchval("SELECT $1::text::bigint[]", literal) == numbers


async def test_what_was_sent_stands_in_no_errors_text(engine: AsyncEngine) -> None:
    async def work(connection: AsyncConnection) -> None:
        values = {"number": 1, "value": 90_123_456}
        await connection.execute(text("INSERT INTO mark VALUES (:number, :value)"), values)

    with pytest.raises(IntegrityError) as told:
        await write(engine, work)
    assert "INSERT INTO mark" in str(told.value)
    assert "90123456" not in "".join(traceback.format_exception(told.value))


def test_an_error_without_a_state_has_none() -> None:
    assert sqlstate_of(ValueError("x")) is None
    assert {"40001", "40P01"} == door.RETRYABLE_SQLSTATES
