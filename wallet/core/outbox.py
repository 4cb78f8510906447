"""The outbox: what other rooms and the outside shall hear of, written with the fact itself.

A row stands in the same transaction as what it tells, so an event is never lost and never about
something that did not happen. Delivery is at least once; ``event_id`` lets a reader drop repeats.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import BigInteger, Column, DateTime, Identity, Table, Text
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.core.clock import to_datetime
from wallet.core.database import Connection, metadata
from wallet.core.ids import new_id

outbox = Table(
    "outbox",
    metadata,
    Column("seq", BigInteger, Identity(always=True), primary_key=True),
    Column("event_id", postgresql.UUID, nullable=False),
    Column("kind", Text, nullable=False),
    Column("body", postgresql.JSONB, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    comment="Append-only; a reader keeps its own place.",
)

_INSERT = """
INSERT INTO outbox (event_id, kind, body, created_at)
SELECT event_id, kind, body, $4
FROM unnest($1::uuid[], $2::text[], $3::jsonb[]) AS new (event_id, kind, body)
"""


class Event(msgspec.Struct, frozen=True, gc=False):
    """Something that happened: ``kind`` such as ``payment.succeeded`` and a thin JSON ``body``.

    No personal data goes in.
    """

    event_id: UUID
    kind: str
    body: str


async def append(connection: Connection, *, events: list[Event], now: datetime) -> None:
    """Write ``events`` in one statement, in the caller's transaction."""
    if events:
        await connection.execute(
            _INSERT,
            [event.event_id for event in events],
            [event.kind for event in events],
            [event.body for event in events],
            now,
        )


async def tell(
    connection: AsyncConnection, *, kind: str, body: Mapping[str, Any], now_us: int
) -> None:
    """Write one event in the caller's transaction, off the money path; as :class:`Event`."""
    await connection.execute(
        outbox.insert().values(
            event_id=new_id(now_us=now_us),
            kind=kind,
            body=msgspec.to_builtins(dict(body)),
            created_at=to_datetime(now_us),
        )
    )
