"""Errors planted by the tables' owner, seen by proofs inside of one transaction, and undone."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.core.database import make_engine
from wallet.ledger.findings import Check, Finding

GUARDED: Final = (
    *("account", "transfer", "burnt_transfer", "seal", "pending_transfer"),
    *("payment", "refund", "idempotency_key", "outbox"),
    *("attendance", "exchange", "receipt", "suspense_settlement_receipt"),
)
"""Tables whose triggers refuse changes."""


@asynccontextmanager
async def planted(
    owner_url: str, *statements: str, **values: object
) -> AsyncIterator[AsyncConnection]:
    """Yield a connection whose transaction has run the statements past every trigger.

    Nothing of it is committed.
    """
    engine = make_engine(owner_url, pool_size=1, application_name="tests-planting")
    try:
        async with engine.connect() as connection:
            await _switch(connection, "DISABLE")
            for statement in statements:
                used = {name: value for name, value in values.items() if f":{name}" in statement}
                result = await connection.execute(text(statement), used)
                assert result.rowcount != 0, statement
            await _switch(connection, "ENABLE")
            yield connection
    finally:
        await engine.dispose()


async def as_owner(owner_url: str, statement: str, **values: object) -> None:
    """Run one statement as whoever owns the tables, and keep what it has done."""
    engine = make_engine(owner_url, pool_size=1, application_name="tests-planting")
    try:
        async with engine.begin() as connection:
            result = await connection.execute(text(statement), values)
            assert result.rowcount != 0, statement
    finally:
        await engine.dispose()


async def _switch(connection: AsyncConnection, word: str) -> None:
    for table in GUARDED:
        await connection.execute(text(f"ALTER TABLE {table} {word} TRIGGER USER"))


def failed(checks: Sequence[Check]) -> dict[str, list[Finding]]:
    """Return the findings of the checks that are not green."""
    return {check.name: list(check.findings) for check in checks if not check.ok}


def shown(findings: Sequence[Finding]) -> list[tuple[Any, ...]]:
    """Return findings as tuples, to compare them."""
    return [(f.kind, f.id, f.what, f.stored, f.computed) for f in findings]
