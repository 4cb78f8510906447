"""Take the demonstration city away, whole; the only way, since the ledger forgets nothing."""

import asyncio
from pathlib import Path
from typing import Final

import asyncpg

from wallet.core.database import Connection
from wallet.core.refusals import RefusedError

_LOCK_TIMEOUT_MS: Final = "3000"
_LOOKS_MAX: Final = 10
_LOOK_PAUSE_S: Final = 0.1
"""Who has just hung up is still listed for a moment."""

# Idle connections hold no lock, yet behind them are servers that remember what is about to go.
_OTHERS: Final = """
SELECT EXISTS (SELECT FROM pg_stat_activity
               WHERE datname = current_database() AND usename IS NOT NULL
                 AND pid <> pg_backend_pid())
"""


async def reset_demo(*, owner_url: str, secrets_path: Path, livemode: bool) -> None:
    """Drop everything in the city's schema; migrations must run again before anything else.

    Raises :class:`RefusedError` ``demo_in_live_mode``, or ``demo_in_use`` while somebody is still
    connected to the database, such as a running server: stop it first.
    """
    if livemode:
        raise RefusedError("demo_in_live_mode")
    connection = await asyncpg.connect(
        owner_url, timeout=5, server_settings={"lock_timeout": _LOCK_TIMEOUT_MS}
    )
    try:
        await _expect_nobody_else(connection)
        async with connection.transaction():
            await _empty_schema(connection)
    except asyncpg.LockNotAvailableError:
        raise RefusedError("demo_in_use") from None
    finally:
        await connection.close()
    await asyncio.to_thread(secrets_path.unlink, missing_ok=True)


async def _expect_nobody_else(connection: Connection) -> None:
    for _ in range(_LOOKS_MAX):
        if not await connection.fetchval(_OTHERS):
            return
        await asyncio.sleep(_LOOK_PAUSE_S)
    raise RefusedError("demo_in_use")


async def _empty_schema(connection: Connection) -> None:
    schema = await connection.fetchval("SELECT quote_ident(current_schema())")
    await connection.execute(f"DROP SCHEMA {schema} CASCADE")
    await connection.execute(f"CREATE SCHEMA {schema}")
    await connection.execute(f"GRANT USAGE ON SCHEMA {schema} TO PUBLIC")
