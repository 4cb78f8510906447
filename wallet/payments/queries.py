"""Reads of payments for their merchants; somebody else's payment is no payment."""

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from wallet.core.clock import to_datetime
from wallet.core.database import Connection, read
from wallet.payments.rules import Payment
from wallet.payments.storage import load_payments
from wallet.payments.waiting import expire_waiting

PAGE_MAX: Final = 100

T = TypeVar("T")

# A payment that waits has no row of its own yet; one that was overtaken by another of its name has
# none for ever, and is found by its id alone.
_ID_OF = """
SELECT id FROM payment WHERE id = $1 AND merchant_id = $2
UNION
SELECT id FROM pending_payment WHERE id = $1 AND merchant_id = $2
"""
_ID_BY_MERCHANT_ID = """
SELECT id FROM payment WHERE merchant_id = $1 AND merchant_payment_id = $2
UNION ALL
SELECT id FROM pending_payment
WHERE merchant_id = $1 AND merchant_payment_id = $2 AND decided_at IS NULL
"""

# The condition on the amount is always true; it lets the index of the list be used. Of those that
# wait a merchant has a handful at any moment.
_PAGE = """
SELECT id FROM (
    (SELECT id FROM payment
     WHERE merchant_id = $1 AND id < $2 AND amount_yen > 0 ORDER BY id DESC LIMIT $3)
    UNION ALL
    SELECT id FROM pending_payment WHERE merchant_id = $1 AND id < $2 AND decided_at IS NULL
) AS listed
ORDER BY id DESC LIMIT $3
"""

_TERMINAL_OF_SHOP = """
SELECT id FROM terminal WHERE shop_id = $1 AND state = 'active' ORDER BY shop_id, id LIMIT 1
"""

_LAST_ID: Final = UUID(int=2**128 - 1)


async def find_payment(
    engine: AsyncEngine, *, merchant_id: UUID, payment_id: UUID, now_us: int
) -> Payment | None:
    """Return the merchant's payment with this id, or None.

    One that has waited too long is declined first, so that it is final for whoever asks.
    """

    async def look_up(connection: Connection) -> list[Payment]:
        return await _load(connection, _ID_OF, payment_id, merchant_id)

    return await _find(engine, look_up, now_us)


async def find_by_merchant_payment_id(
    engine: AsyncEngine, *, merchant_id: UUID, merchant_payment_id: str, now_us: int
) -> Payment | None:
    """Return the payment that the merchant itself calls so, or None; as :func:`find_payment`."""

    async def look_up(connection: Connection) -> list[Payment]:
        return await _load(connection, _ID_BY_MERCHANT_ID, merchant_id, merchant_payment_id)

    return await _find(engine, look_up, now_us)


async def find_terminal(engine: AsyncEngine, *, shop_id: UUID) -> UUID | None:
    """Return the terminal at which somebody pays who names only the shop, None without any."""

    async def look_up(connection: Connection) -> UUID | None:
        found: UUID | None = await connection.fetchval(_TERMINAL_OF_SHOP, shop_id)
        return found

    return await read_raw(engine, look_up)


async def list_payments(
    engine: AsyncEngine, *, merchant_id: UUID, before: UUID | None, limit: int
) -> list[Payment]:
    """Return up to ``limit`` of the merchant's payments older than ``before``, newest first.

    ``before`` is the id of the last payment of the page before this one; None begins with the
    newest. Raises ValueError when ``limit`` is not 1 to :data:`PAGE_MAX` + 1; the one more tells
    whether another page follows.
    """
    if not 1 <= limit <= PAGE_MAX + 1:
        message = f"a page has 1 to {PAGE_MAX} payments, not {limit}"
        raise ValueError(message)

    async def look_up(connection: Connection) -> list[Payment]:
        return await _load(connection, _PAGE, merchant_id, before or _LAST_ID, limit)

    return await read_raw(engine, look_up)


async def _find(
    engine: AsyncEngine, look_up: Callable[[Connection], Awaitable[list[Payment]]], now_us: int
) -> Payment | None:
    found = next(iter(await read_raw(engine, look_up)), None)
    waiting = None if found is None else found.waiting
    if found is None or waiting is None or waiting.expires_at > to_datetime(now_us):
        return found
    await expire_waiting(engine, now_us=now_us, payment_id=found.id)
    return next(iter(await read_raw(engine, look_up)), None)


async def _load(connection: Connection, statement: str, *values: object) -> list[Payment]:
    """Load the payments whose ids the statement finds, in its order."""
    ids = [row[0] for row in await connection.fetch(statement, *values)]
    payments = await load_payments(connection, ids) if ids else {}
    return [payments[identifier] for identifier in ids]


async def read_raw(engine: AsyncEngine, work: Callable[[Connection], Awaitable[T]]) -> T:
    """Run ``work`` on the driver's own connection, which is what the till's SQL speaks to.

    SQLAlchemy begins a transaction only with its own statements, so each read here stands alone;
    what it reads never changes once it is written, but for a payment that waits, and that is one
    read.
    """
    async with read(engine) as connection:
        raw: Any = await connection.get_raw_connection()
        return await work(raw.driver_connection)
