"""The board: at most two seconds behind, and asked once for a crowd."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.factories.moments import NOW, NOW_US
from tests.factories.stops import release
from tests.servers import Database
from wallet.core.clock import TestClock
from wallet.core.database import make_engine, write
from wallet.ops import stop
from wallet.ops.board import KEPT_S, Board


async def engage(engine: AsyncEngine, scope: str) -> None:
    """Stop a scope."""
    await write(
        engine,
        lambda c: stop.engage(c, scope=scope, reason="a test", actor="cli:a", now_us=NOW_US),
    )


async def lift(engine: AsyncEngine, scope: str) -> None:
    """Release a scope, as two people do."""
    await write(
        engine, lambda c: release(c, scope=scope, reason="over", actor="cli:b", now_us=NOW_US)
    )


@pytest.fixture
async def engine(database: Database) -> AsyncIterator[AsyncEngine]:
    """Yield an engine on a database of the test's own."""
    engine = make_engine(database.application_url, pool_size=3, application_name="tests")
    yield engine
    await engine.dispose()


def reads_of(engine: AsyncEngine) -> list[str]:
    """Return a list that grows with every statement that reads what is stopped."""
    seen: list[str] = []

    def note(*arguments: object) -> None:
        if "FROM stop_control" in str(arguments[2]):
            seen.append(str(arguments[2]))

    event.listen(engine.sync_engine, "before_cursor_execute", note)
    return seen


async def test_a_stop_and_its_end_are_on_the_board_two_seconds_later(engine: AsyncEngine) -> None:
    clock = TestClock(NOW_US)
    board = Board(engine=engine, clock=clock)
    assert await board.scopes() == frozenset()
    await engage(engine, "gift")
    clock.advance(seconds=KEPT_S)
    assert await board.scopes() == {"gift"}
    (one,) = (await board.look()).stopped
    assert (one.scope, one.since, one.next_notice_at) == ("gift", NOW, None)
    await lift(engine, "gift")
    clock.advance(seconds=KEPT_S)
    assert await board.scopes() == frozenset()


async def test_a_crowd_asks_the_database_once(engine: AsyncEngine) -> None:
    clock, reads = TestClock(NOW_US), reads_of(engine)
    board = Board(engine=engine, clock=clock)
    views = await asyncio.gather(*(board.look() for _ in range(50)))
    assert all(view is views[0] for view in views)
    clock.advance(seconds=KEPT_S - 0.001)
    assert await board.look() is views[0]
    assert len(reads) == 1
    clock.advance(seconds=0.001)
    assert await board.look() is not views[0]
    assert len(reads) == 2


async def test_a_clock_that_steps_back_makes_nothing_last_longer(engine: AsyncEngine) -> None:
    clock = TestClock(NOW_US)
    board = Board(engine=engine, clock=clock)
    first = await board.look()
    clock.advance(seconds=-60)
    assert await board.look() is not first


async def test_who_gives_up_disturbs_nobody(engine: AsyncEngine) -> None:
    board = Board(engine=engine, clock=TestClock(NOW_US))
    impatient = asyncio.create_task(board.look())
    patient = asyncio.create_task(board.look())
    await asyncio.sleep(0)
    impatient.cancel()
    assert (await patient).stopped == ()


async def test_what_cannot_be_read_is_not_guessed(engine: AsyncEngine, database: Database) -> None:
    clock = TestClock(NOW_US)
    elsewhere = make_engine(
        database.application_url.replace(database.name, "nowhere"),
        pool_size=1,
        application_name="tests",
    )
    board = Board(engine=elsewhere, clock=clock)
    for _ in range(2):
        with pytest.raises(Exception, match="nowhere"):
            await board.look()
    await elsewhere.dispose()
    assert await Board(engine=engine, clock=clock).scopes() == frozenset()


def test_nobody_keeps_it_longer(engine: AsyncEngine) -> None:
    with pytest.raises(ValueError, match="0 to 2"):
        Board(engine=engine, clock=TestClock(NOW_US), kept_s=KEPT_S + 0.1)
