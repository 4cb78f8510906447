"""What a batch tries again after, and for how long it asks for a database that is away."""

import asyncio
from typing import Final

import asyncpg

from wallet.core.database import RETRYABLE_SQLSTATES, sqlstate_of
from wallet.ledger import storage
from wallet.ledger.journal import MissingFactError

# Besides what any transaction may be retried on: another process wrote the same key first
# (the retry finds it), held a lock for too long, or filled or emptied an account that was taken to
# be open for anything (the retry locks it and knows what it holds).
_RETRYABLE: Final = RETRYABLE_SQLSTATES | {"23505", "55P03"}

# Another process wrote, or a migration changed a table, between two of the batch's statements.
_PASSING: Final = (
    storage.LostRowsError,
    MissingFactError,
    asyncpg.InvalidCachedStatementError,
)

CONNECTION_LOST: Final = (
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    # The driver has lost track of the conversation, so no answer can be told from another.
    asyncpg.InternalClientError,
)

RECONNECT_S_MAX: Final = 10.0
"""How long a lost database is tried again; a restart or a failover fits into that."""

RECONNECT_PAUSE_S: Final = 0.25


class Patience:
    """The patience of one batch; its time runs from the first loss."""

    def __init__(self) -> None:
        self._deadline: float | None = None

    async def wait(self) -> bool:
        """Pause, and return whether to try again."""
        now = asyncio.get_running_loop().time()
        if self._deadline is None:
            self._deadline = now + RECONNECT_S_MAX
        if now >= self._deadline:
            return False
        await asyncio.sleep(RECONNECT_PAUSE_S)
        return True


def may_pass(error: Exception) -> bool:
    """Whether the database has refused a statement for a reason that may be gone next time."""
    return isinstance(error, _PASSING) or sqlstate_of(error) in _RETRYABLE
