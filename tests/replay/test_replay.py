"""A replay that cannot be honest is refused before it has touched anything."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from rich.progress import Progress
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.factories.moments import NOW_US, PEPPER
from tests.replay.scripted import answer, scripted
from tests.servers import Database
from wallet.core.clock import TestClock
from wallet.core.database import make_engine, read
from wallet.core.refusals import RefusedError
from wallet.replay.replay import replay

COUNT = text("SELECT (SELECT count(*) FROM wallet) + (SELECT count(*) FROM merchant)")
GOOD = "at,customer_id,terminal_id,amount\n2026-04-01T12:00:00,c,t,5\n"


@pytest.fixture
async def engine(module_database: Database) -> AsyncIterator[AsyncEngine]:
    """Yield an engine on the module's empty city."""
    engine = make_engine(module_database.application_url, pool_size=2, application_name="tests")
    yield engine
    await engine.dispose()


@pytest.mark.parametrize(
    ("content", "knobs", "code"),
    [
        (GOOD, {"livemode": True}, "replay_in_live_mode"),
        (GOOD, {"concurrency": 0}, "concurrency_invalid"),
        (GOOD, {"concurrency": 1_001}, "concurrency_invalid"),
        (f"{GOOD}yesterday,c,t,5\n", {}, "replay_file_invalid"),
    ],
    ids=["live", "nobody", "crowd", "file"],
)
async def test_nothing_is_prepared_or_sent_for_a_replay_that_is_refused(
    module_database: Database,
    engine: AsyncEngine,
    tmp_path: Path,
    content: str,
    knobs: dict[str, Any],
    code: str,
) -> None:
    path = tmp_path / "payments.csv"
    path.write_text(content, encoding="utf-8")
    async with scripted(answer(500)) as script:
        defaults = {"livemode": False, "base_url": script.url}
        with pytest.raises(RefusedError) as refused:
            await replay(
                path,
                engine=engine,
                database_url=module_database.application_url,
                pepper=PEPPER,
                clock=TestClock(NOW_US),
                progress=Progress(disable=True),
                **{**defaults, **knobs},
            )
    assert refused.value.refusal.code == code
    assert script.connections == 0
    async with read(engine) as connection:
        assert (await connection.execute(COUNT)).scalar_one() == 0
