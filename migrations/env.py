"""Runs migrations as the owner's role: one transaction each, and never a long wait for a lock.

Every room's ``tables.py`` (or ``…_tables.py``, where one file would be too long) registers its
tables with the one metadata; they are found by walking the package, so that a new room needs no
line here.
"""

import asyncio
import importlib
import re
from pathlib import Path
from typing import Final

from alembic import context
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

import wallet
from wallet.core.database import metadata
from wallet.core.embedded import status
from wallet.settings import read_settings

LOCK_TIMEOUT_MS: Final = 5_000
"""A migration that waits for a lock makes every payment behind it wait too; better it fails."""

STATEMENT_TIMEOUT_MS: Final = 60_000
TURN_TIMEOUT_MS: Final = 300_000
"""How long a second migrator waits for the first one to finish."""

_TURN_LOCK: Final = 7_305_807_118_442_001_953
_PARTITION: Final = re.compile(r"transfer_(other|y\d{4}m\d{2})")


def import_tables() -> None:
    """Import every room's tables and the outbox, so that the metadata knows them."""
    importlib.import_module("wallet.core.outbox")
    for path in sorted(Path(wallet.__path__[0]).glob("*/*tables.py")):
        importlib.import_module(f"wallet.{path.parent.name}.{path.stem}")


def owner_url() -> str:
    """Return whose connection migrates: the caller's, the settings', or the embedded server's."""
    given = context.config.attributes.get("owner_url")
    if given is not None:
        return str(given)
    settings = read_settings()
    if url := settings.database_owner_url or settings.database_url:
        return url
    cluster = status(data_directory=settings.data_directory / "postgres")
    if cluster is None:
        message = "Set DATABASE_OWNER_URL, or start the embedded server first with `make run`."
        raise SystemExit(message)
    return cluster.owner_url


def include_name(name: str | None, kind: str, _: object) -> bool:
    """Leave out the ledger's partitions: they come by month, and no model names them."""
    return kind != "table" or name is None or not _PARTITION.fullmatch(name)


def migrate(connection: Connection) -> None:
    """Run what is due; migrators of other processes wait for their turn."""
    connection.execute(text(f"SET lock_timeout = {TURN_TIMEOUT_MS}"))
    connection.execute(text(f"SET statement_timeout = {TURN_TIMEOUT_MS}"))
    # Held by the session, for it spans the transactions of all migrations; ends with it.
    connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _TURN_LOCK})
    connection.execute(text(f"SET lock_timeout = {LOCK_TIMEOUT_MS}"))
    connection.execute(text(f"SET statement_timeout = {STATEMENT_TIMEOUT_MS}"))
    connection.commit()
    context.configure(
        connection=connection,
        target_metadata=metadata,
        transaction_per_migration=True,
        include_name=include_name,
        compare_server_default=True,
    )
    with context.begin_transaction():
        context.run_migrations()


async def main() -> None:
    """Connect and migrate."""
    url = owner_url().replace("postgresql://", "postgresql+asyncpg://", 1)
    engine = create_async_engine(url, poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            await connection.run_sync(migrate)
    finally:
        await engine.dispose()


if context.is_offline_mode():
    sentence = "Migrations run against a database only; `--sql` would skip their checks."
    raise SystemExit(sentence)
import_tables()
asyncio.run(main())
