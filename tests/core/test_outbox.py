"""The outbox: an event stands or falls with the fact it tells of."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from uuid import UUID

import asyncpg
import msgspec
import pytest

from tests.factories.ledger import open_connection
from tests.factories.moments import NOW_US
from tests.servers import Database
from wallet.core.clock import to_datetime
from wallet.core.database import Connection
from wallet.core.ids import new_id
from wallet.core.outbox import Event, append

NOW = to_datetime(NOW_US)


@pytest.fixture
async def connection(module_database: Database) -> AsyncIterator[Connection]:
    """A connection of the application's role."""
    async with open_connection(module_database.application_url) as connection:
        yield connection


def event(kind: str = "payment.succeeded", **body: object) -> Event:
    """Return an event under an id of its own."""
    return Event(new_id(now_us=NOW_US), kind, msgspec.json.encode(body).decode())


async def stored(connection: Connection, *events: Event) -> list[asyncpg.Record]:
    """Return the rows of the events, in the order a reader finds them."""
    return await connection.fetch(
        "SELECT * FROM outbox WHERE event_id = ANY($1::uuid[]) ORDER BY seq",
        [one.event_id for one in events],
    )


async def test_events_are_kept_in_their_order(connection: Connection) -> None:
    first, second = event(amount_yen=1), event("payment.declined", name="白鷺")
    await append(connection, events=[first, second], now=NOW)
    rows = await stored(connection, first, second)
    assert [(row["event_id"], row["kind"], row["created_at"]) for row in rows] == [
        (first.event_id, "payment.succeeded", NOW),
        (second.event_id, "payment.declined", NOW),
    ]
    assert [msgspec.json.decode(row["body"]) for row in rows] == [
        {"amount_yen": 1},
        {"name": "白鷺"},
    ]
    assert rows[0]["seq"] < rows[1]["seq"]


async def test_an_event_falls_with_its_transaction(connection: Connection) -> None:
    told = event()
    transaction = connection.transaction()
    await transaction.start()
    await append(connection, events=[told], now=NOW)
    assert len(await stored(connection, told)) == 1
    await transaction.rollback()
    assert await stored(connection, told) == []


async def test_no_events_are_no_statement(connection: Connection) -> None:
    async with connection.transaction():
        await append(connection, events=[], now=datetime(2026, 1, 1, tzinfo=UTC))
        assert await connection.fetchval("SELECT pg_current_xact_id_if_assigned()") is None


async def test_a_body_that_is_no_json_is_refused(connection: Connection) -> None:
    told = Event(new_id(now_us=NOW_US), "payment.succeeded", "{")
    with pytest.raises(asyncpg.InvalidTextRepresentationError):
        await append(connection, events=[told], now=NOW)


async def test_an_event_cannot_choose_its_place(connection: Connection) -> None:
    with pytest.raises(asyncpg.GeneratedAlwaysError):
        await connection.execute(
            "INSERT INTO outbox (seq, event_id, kind, body, created_at)"
            " VALUES (1, $1, 'a', '{}', now())",
            UUID(int=1),
        )
