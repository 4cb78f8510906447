"""Where a rehearsal takes place: a database of its own, and a clock that moves when told."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, time
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
from rich.progress import Progress
from sqlalchemy.ext.asyncio import AsyncEngine

from wallet.core import embedded
from wallet.core.clock import JST, TestClock, to_datetime, to_microseconds
from wallet.core.database import make_engine, write
from wallet.core.ids import new_secret
from wallet.ledger.bulk import bulk_teller
from wallet.ledger.teller import Teller
from wallet.migrate import migrate

DATABASE: Final = "wallet_campaign"

T = TypeVar("T")


class Step(msgspec.Struct, frozen=True):
    """Something that has happened, as the office would see it, and its figures."""

    at: datetime
    title: str
    facts: dict[str, int | str]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What every act of a rehearsal works with; ``tell`` hears of each step at once."""

    engine: AsyncEngine
    database_url: str
    teller: Teller
    clock: TestClock
    pepper: bytes
    progress: Progress
    tell: Callable[[Step], None]
    steps: list[Step] = field(default_factory=list)

    def note(self, title: str, **facts: int | str) -> None:
        """Write down what has just happened."""
        step = Step(to_datetime(self.clock()).astimezone(JST), title, facts)
        self.steps.append(step)
        self.tell(step)

    def go_to(self, day: date, at: time = time(9)) -> None:
        """Move the clock forward to a time of a day in Japan; it never goes back."""
        moment_us = to_microseconds(datetime.combine(day, at, tzinfo=JST))
        self.clock.now_us = max(self.clock.now_us, moment_us)

    async def do(self, verb: Callable[..., Any], **fields: Any) -> Any:  # noqa: ANN401 - whatever the verb takes and gives
        """Call a verb in a transaction of its own, now."""
        return await write(self.engine, partial(verb, now_us=self.clock(), **fields))

    def each(self, title: str, things: Sequence[T]) -> Iterator[T]:
        """Go through things with a progress bar."""
        return iter(self.progress.track(things, description=title))


@contextmanager
def open_database(data_directory: Path) -> Iterator[str]:
    """Yield the application's URL of a fresh database, which is dropped afterwards.

    The embedded server is started unless it runs. Call before an event loop turns.
    """
    was_running = embedded.status(data_directory=data_directory) is not None
    cluster = embedded.start(data_directory=data_directory)
    try:
        embedded.drop_database(owner_url=cluster.owner_url, name=DATABASE)
        embedded.create_database(owner_url=cluster.owner_url, name=DATABASE)
        migrate(owner_url=embedded.url_for(cluster.owner_url, DATABASE))
        yield embedded.url_for(cluster.application_url, DATABASE)
    finally:
        embedded.drop_database(owner_url=cluster.owner_url, name=DATABASE)
        if not was_running:
            embedded.stop(data_directory=data_directory)


@asynccontextmanager
async def open_stage(
    database_url: str, *, clock: TestClock, progress: Progress, tell: Callable[[Step], None]
) -> AsyncIterator[Stage]:
    """Yield a stage over a migrated database; its pepper is forgotten with it."""
    engine = make_engine(database_url, pool_size=8, application_name="wallet-campaign")
    try:
        async with bulk_teller(database_url, clock=clock) as teller:
            yield Stage(
                engine=engine,
                database_url=database_url,
                teller=teller,
                clock=clock,
                pepper=new_secret("pepper_").encode(),
                progress=progress,
                tell=tell,
            )
    finally:
        await engine.dispose()
