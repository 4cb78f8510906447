"""The database's door: engines, the one place that commits, and connections for the teller.

Two ways in. Everything ordinary uses SQLAlchemy's async engine through :func:`read` and
:func:`write`; ``write`` commits before it returns, so no answer ever leaves ahead of its commit.
The money path speaks asyncpg directly on a connection from :func:`connect`.
"""

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import asyncpg
from sqlalchemy import MetaData, event
from sqlalchemy.exc import DBAPIError, InvalidatePoolError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
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

# Class 08 is connections; the others are a shutdown, a crash, a start-up, no room for more, a lock
# that did not come in time, and a statement that took too long.
_AWAY_SQLSTATE: Final = re.compile(r"08...|57P0[123]|53300|55P03|57014")

_CONNECT_TIMEOUT_S: Final = 5.0

_KEEPALIVE: Final = {
    "TCP_KEEPIDLE": 3,
    "TCP_KEEPINTVL": 1,
    "TCP_KEEPCNT": 3,
    "TCP_USER_TIMEOUT": 6_000,
}
"""A silent host is asked after three seconds whether it is there, and thrice more, a second apart;
nor may anything sent stay unacknowledged for more than six (in milliseconds, as Linux wants it)."""

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
    engine = create_async_engine(
        url.replace("postgresql://", "postgresql+asyncpg://", 1),
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=2,
        pool_recycle=1800,
        hide_parameters=True,  # They are people's, and an error's text ends up in the log.
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
    event.listen(engine.sync_engine, "checkout", _replace_dead)
    return engine


def _replace_dead(connection: Any, *_: object) -> None:  # noqa: ANN401 - the driver's, adapted
    """Have the pool connect anew when the server has ended this connection, as a restart does.

    The driver has heard of it by then, so this asks nobody and costs nothing.
    """
    if connection.driver_connection.is_closed():
        raise InvalidatePoolError


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


def is_away(error: BaseException) -> bool:
    """Whether the database cannot be reached, not in time, or has gone away under a statement.

    As against having refused something. Whatever was asked may be asked again.
    """
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    state = sqlstate_of(error)
    if state is not None:
        return _AWAY_SQLSTATE.fullmatch(state) is not None
    if isinstance(error, asyncpg.InterfaceError):
        return "connection is closed" in str(error)  # The class alone may mean a mistake of ours.
    return isinstance(error, OSError | PoolTimeoutError)


async def connect(url: str, *, application_name: str) -> Connection:
    """Return one raw connection for money: steady plans, short lock waits, durable commits."""
    connection: Connection = await asyncpg.connect(
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
    _notice_silence(connection)
    return connection


def _notice_silence(connection: Connection) -> None:
    """Have the connection break a few seconds after the other host has gone without a word.

    A batch waits for its COMMIT without a time limit, so nothing else would end that wait.
    """
    # The driver has no public way to its socket.
    link = cast("Any", connection)._transport.get_extra_info("socket")  # noqa: SLF001
    if link.family not in (socket.AF_INET, socket.AF_INET6):
        return
    link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE.items():
        if hasattr(socket, name):  # Each system has some of them.
            link.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def array_literal(numbers: Iterable[int]) -> str:
    """Return the numbers as a PostgreSQL array literal, for a parameter ``$n::text::bigint[]``.

    Joining their digits costs a fifth of what the driver spends on inspecting each element of a
    list, and the money path sends many numbers.
    """
    return "{" + ",".join(map(str, numbers)) + "}"
