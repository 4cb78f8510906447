"""What every plane has: its health, and, where it moves money, a teller of its own."""

import asyncio
from typing import Final

from fastapi import FastAPI
from sqlalchemy import text

from wallet.core.clock import Clock
from wallet.core.database import connect, read
from wallet.ledger.teller import Teller
from wallet.settings import Settings

READY_TIMEOUT_S: Final = 2.0


def make_teller(settings: Settings, *, database_url: str, clock: Clock, name: str) -> Teller:
    """Return a teller with connections of its own."""
    return Teller(
        connect=lambda: connect(database_url, application_name=name),
        clock=clock,
        batch_max=settings.teller_batch_max,
        queue_max=settings.teller_queue_max,
    )


def add_health(application: FastAPI) -> None:
    """Add ``/livez`` and ``/readyz``; the engine is at ``application.state.engine``."""

    @application.get("/livez", include_in_schema=False)
    async def livez() -> dict[str, str]:
        """The event loop turns; says nothing of the database on purpose."""
        return {"status": "alive"}

    @application.get("/readyz", include_in_schema=False)
    async def readyz() -> dict[str, str]:
        """The database answers."""
        async with asyncio.timeout(READY_TIMEOUT_S), read(application.state.engine) as connection:
            await connection.execute(text("SELECT 1"))
        return {"status": "ready"}
