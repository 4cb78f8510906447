"""Devices to bind factors to, and a gate that hashes at no cost to speak of."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.factories.moments import NOW, NOW_US
from wallet.auth.hash_gate import HashCost, HashGate
from wallet.core.database import write
from wallet.core.ids import new_id

CHEAPEST = HashCost(memory_kib=8, passes=1)
"""The least that argon2 can be asked for; a thousandth of what people's passwords get."""

_INSERT = text("""
INSERT INTO device (id, principal_id, public_key, thumbprint, name, app_version, enrolled_at)
SELECT id, principal_id, public_key, sha256(public_key), 'phone', '1.0.0', :now
FROM unnest(CAST(:ids AS uuid[]), CAST(:principal_ids AS uuid[]), CAST(:keys AS bytea[]))
     AS new (id, principal_id, public_key)
""")


def new_principal() -> UUID:
    """Return the id of somebody nobody else is."""
    return new_id(now_us=NOW_US)


async def make_devices(engine: AsyncEngine, *, principal_ids: list[UUID]) -> list[UUID]:
    """Enrol a device for each principal and return their ids; no key of theirs signs anything."""
    ids = [new_id(now_us=NOW_US) for _ in principal_ids]
    values = {
        "ids": ids,
        "principal_ids": principal_ids,
        "keys": [b"\x04" + os.urandom(64) for _ in ids],
        "now": NOW,
    }
    await write(engine, lambda connection: connection.execute(_INSERT, values))
    return ids


@asynccontextmanager
async def cheap_gate(
    *, workers: int = 1, queue_max: int = 50, wait_s: float = 2.0
) -> AsyncIterator[HashGate]:
    """Yield a gate whose hashes protect nobody."""
    gate = HashGate(
        cost=CHEAPEST, workers=workers, queue_max=queue_max, wait_s=wait_s, below_the_floor=True
    )
    try:
        yield gate
    finally:
        gate.close()
