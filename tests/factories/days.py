"""Days that pass: clocks moved to Japanese days, and what the worker does to purses on them."""

from datetime import date, datetime, time
from typing import Any
from uuid import UUID

from sqlalchemy import text

from tests.factories.city import City
from wallet.core.clock import JST, TestClock, to_microseconds
from wallet.core.database import read
from wallet.programmes.expire import expire_due
from wallet.proof import prove

_EVENTS = text("SELECT body FROM outbox WHERE kind = :kind ORDER BY seq")


def go_to(city: City, day: date, *, hour: int = 12, minute: int = 0) -> None:
    """Move the city's clock to an hour of a Japanese day; it must be a clock for tests."""
    assert isinstance(city.clock, TestClock)
    city.clock.now_us = to_microseconds(datetime.combine(day, time(hour, minute), tzinfo=JST))


async def expire(city: City) -> int:
    """Have the worker empty whatever is over, without rests."""
    return await expire_due(
        city.engine, database_url=city.database_url, clock=city.clock, rest_ratio=0
    )


async def events_of(city: City, kind: str) -> list[dict[str, Any]]:
    """Return the bodies of all events of a kind, oldest first."""
    async with read(city.engine) as connection:
        return [row.body for row in await connection.execute(_EVENTS, {"kind": kind})]


async def rows_of(city: City, statement: str, **values: object) -> list[tuple[Any, ...]]:
    """Return the rows of a query."""
    async with read(city.engine) as connection:
        return [tuple(row) for row in await connection.execute(text(statement), values)]


async def purse_of(city: City, wallet_id: UUID, funding: str = "free") -> tuple[UUID, date]:
    """Return the account of the wallet's one purse of a funding class, and its last day."""
    (row,) = await rows_of(
        city,
        "SELECT account_id, expires_on FROM purse WHERE wallet_id = :id AND funding = :funding",
        id=wallet_id,
        funding=funding,
    )
    return row[0], row[1]


async def check_proof(city: City) -> None:
    """Fail the test unless everything is accounted for."""
    proof = await prove(city.engine, now_us=city.clock())
    assert proof.ok, [check for check in proof.checks if not check.ok]
