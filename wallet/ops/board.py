"""The board: what is stopped, as a process that settles no money knows it.

It is read again when it is two seconds old, once for everybody who asks meanwhile, and what is
older is never used. So a stop reaches every process within two seconds of its commit, and no more
often than that does a crowd of callers ask the database.
"""

import asyncio
from datetime import datetime
from typing import Final

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from wallet.core.clock import MICROSECONDS, Clock
from wallet.core.database import read

KEPT_S: Final = 2.0

# A scope without a story was stopped by an older version of the programme; it counts all the same.
_READ: Final = text("""
SELECT engaged.scope, s.engaged_at, s.next_notice_at
FROM stop_control AS c CROSS JOIN unnest(c.scopes) AS engaged (scope)
LEFT JOIN stop AS s ON s.scope = engaged.scope AND s.released_at IS NULL AND NOT s.drill
WHERE c.id = 1 ORDER BY engaged.scope
""")


class Stopped(msgspec.Struct, frozen=True):
    """A scope that is stopped, since when, and when the public will hear more."""

    scope: str
    since: datetime | None
    next_notice_at: datetime | None


class View(msgspec.Struct, frozen=True):
    """What was stopped at ``as_of_us``; ``scopes`` is for :func:`~wallet.ops.rules.matches`."""

    as_of_us: int
    stopped: tuple[Stopped, ...]
    scopes: frozenset[str]


class Board:
    """What is stopped, at most :data:`KEPT_S` seconds old."""

    def __init__(self, *, engine: AsyncEngine, clock: Clock, kept_s: float = KEPT_S) -> None:
        if not 0 <= kept_s <= KEPT_S:
            message = f"what is stopped may be kept for 0 to {KEPT_S} s"
            raise ValueError(message)
        self._engine = engine
        self._clock = clock
        self._kept_us = int(kept_s * MICROSECONDS)
        self._view: View | None = None
        self._reading: asyncio.Task[View] | None = None

    async def look(self) -> View:
        """Return what is stopped; raises what the database raises, and never guesses."""
        view = self._view
        if view is not None and 0 <= self._clock() - view.as_of_us < self._kept_us:
            return view
        task = self._reading
        if task is None:
            task = self._reading = asyncio.ensure_future(self._read())
            task.add_done_callback(self._has_read)
        # Who gives up disturbs nobody else who waits.
        return await asyncio.shield(task)

    async def scopes(self) -> frozenset[str]:
        """Return the engaged scopes; raises as :meth:`look` does."""
        return (await self.look()).scopes

    def _has_read(self, task: asyncio.Task[View]) -> None:
        self._reading = None
        if not task.cancelled() and task.exception() is None:
            self._view = task.result()

    async def _read(self) -> View:
        as_of_us = self._clock()  # Before the reading: what it shows is no older than that.
        async with read(self._engine) as connection:
            rows = await connection.execute(_READ)
            stopped = tuple(Stopped(*row) for row in rows)
        return View(as_of_us, stopped, frozenset(one.scope for one in stopped))
