"""The database's door: engines, the one place that commits, and connections for the teller.

Two ways in. Everything ordinary uses SQLAlchemy's async engine through :func:`read` and
:func:`write`; ``write`` commits before it returns, so no answer ever leaves ahead of its commit.
The money path speaks asyncpg directly on a connection from :func:`connect`.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

import asyncpg
from sqlalchemy import MetaData
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

if TYPE_CHECKING:
    Connection = asyncpg.Connection[Any]
else:
    Connection = asyncpg.Connection  # Generic only in its type stubs.

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)
"""Every room's tables register here; migrations compare against it."""

ATTEMPTS_MAX: Final = 3
RETRYABLE_SQLSTATES: Final = frozenset({"40001", "40P01"})
"""Serialization failure and deadlock: the transaction is gone as a whole and may be run again."""

_CONNECT_TIMEOUT_S: Final = 5.0

# Plans on the money path must not change under load: every statement looks rows up by key, so
# index nested loops are right at any table size, and a plan made on an empty table stays right.
_STEADY_PLANS: Final = {
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_bitmapscan": "off",
    "enable_material": "off",
    "enable_memoize": "off",
    "jit": "off",
}

T = TypeVar("T")


def make_engine(url: str, *, pool_size: int, application_name: str) -> AsyncEngine:
    """Return an async engine with a fixed pool: no overflow, bounded waits (seconds)."""
    return create_async_engine(
        url.replace("postgresql://", "postgresql+asyncpg://", 1),
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=2,
        pool_recycle=1800,
        connect_args={
            "timeout": _CONNECT_TIMEOUT_S,
            "server_settings": {
                "application_name": application_name,
                "statement_timeout": "5000",
                "lock_timeout": "2000",
                "idle_in_transaction_session_timeout": "10000",
                "jit": "off",
            },
        },
    )


@asynccontextmanager
async def read(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """Yield a connection for reading; whatever it did is rolled back."""
    async with engine.connect() as connection:
        yield connection


async def write(engine: AsyncEngine, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
    """Run ``work`` in one transaction and return its result once it is durably committed.

    Serialization failures and deadlocks are run again, at most three times in all; ``work`` must
    therefore change nothing but the database. Any other error rolls back and is raised.
    """
    for attempt in range(1, ATTEMPTS_MAX + 1):
        try:
            async with engine.begin() as connection:
                result = await work(connection)
        except DBAPIError as error:
            if attempt == ATTEMPTS_MAX or sqlstate_of(error) not in RETRYABLE_SQLSTATES:
                raise
            await asyncio.sleep(0.01 * attempt)
        else:
            return result
    raise AssertionError  # The loop returns or raises.


def sqlstate_of(error: BaseException) -> str | None:
    """Return the SQLSTATE of a SQLAlchemy or asyncpg error, None when it has none."""
    original = getattr(error, "orig", None) or error
    state = getattr(original, "sqlstate", None)
    return state if isinstance(state, str) else None


async def connect(url: str, *, application_name: str) -> Connection:
    """Return one raw connection for money: steady plans, short lock waits, durable commits."""
    return await asyncpg.connect(
        url,
        timeout=_CONNECT_TIMEOUT_S,
        server_settings={
            "application_name": application_name,
            "statement_timeout": "10000",
            "lock_timeout": "2000",
            "idle_in_transaction_session_timeout": "20000",
            "synchronous_commit": "on",
            **_STEADY_PLANS,
        },
    )


def array_literal(numbers: Iterable[int]) -> str:
    """Return the numbers as a PostgreSQL array literal, for a parameter ``$n::text::bigint[]``.

    Joining their digits costs a fifth of what the driver spends on inspecting each element of a
    list, and the money path sends many numbers.
    """
    return "{" + ",".join(map(str, numbers)) + "}"
