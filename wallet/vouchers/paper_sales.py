"""Sell booklets: the desk reads their covers, and from then on each one has money of its own.

The desk decides, the worker issues: between the two a booklet is sold and its money on the way.
"""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.core.clock import to_datetime
from wallet.people.open_wallets import NewWallet, insert_wallets
from wallet.people.rules import Tier
from wallet.vouchers.paper_rules import COVER, SerialState, SheetCode, read_code

ROWS_MAX: Final = 200

# By key, whatever the planner thinks of the tables' sizes: there are as many as a city has printed.
_FIND: Final = text("""
SELECT s.id
FROM unnest(CAST(:batches AS int[]), CAST(:numbers AS int[])) AS asked (batch, number)
JOIN paper_batch AS b ON b.number = ANY (ARRAY[asked.batch])
CROSS JOIN LATERAL (
    SELECT id FROM paper_serial WHERE batch_id = b.id AND number = asked.number OFFSET 0
) AS s
""")

_LOCK: Final = text("""
SELECT s.id, b.number AS batch, s.number, s.state, s.issued_at, b.sheets, b.clearing_until,
       CAST(g.terms -> 'spending' ->> 'first_day' AS date) AS first_day,
       CAST(g.terms -> 'spending' ->> 'last_day' AS date) AS last_day
FROM paper_serial AS s
JOIN paper_batch AS b ON b.id = ANY (ARRAY[s.batch_id])
JOIN programme AS g ON g.id = ANY (ARRAY[b.programme_id])
WHERE s.id = ANY(CAST(:ids AS uuid[]))
ORDER BY s.id FOR NO KEY UPDATE OF s
""")

_SELL: Final = text("""
UPDATE paper_serial SET state = 'sold', sold_at = :now, changed_at = :now
WHERE id = ANY(CAST(:ids AS uuid[]))
""")


class RowError(msgspec.Struct, frozen=True):
    """What is wrong with a row; rows are counted from 1, as in the file they came in."""

    row: int
    code: str


class Sale(msgspec.Struct, frozen=True):
    """The booklets that were sold, and the rows that were not taken."""

    serial_ids: list[UUID]
    errors: list[RowError]


async def lock_serials(
    connection: AsyncConnection, codes: Sequence[SheetCode]
) -> dict[tuple[int, int], Any]:
    """Return the booklets of the codes, locked, by the batch's and their own number."""
    named = sorted({(code.batch, code.number) for code in codes})
    values = {"batches": [one[0] for one in named], "numbers": [one[1] for one in named]}
    ids = list((await connection.execute(_FIND, values)).scalars())
    rows = await connection.execute(_LOCK, {"ids": ids})
    return {(row.batch, row.number): row for row in rows}


async def sell_booklets(
    connection: AsyncConnection, *, covers: Sequence[str], pepper: bytes, now_us: int
) -> Sale:
    """Sell the booklets of the covers that were read; good rows are taken, whatever the others are.

    A row is refused with ``paper_unreadable``, ``paper_repeated`` within the sale, or
    ``paper_state`` for a booklet that is not on sale at a desk.
    """
    read = [read_code(cover, pepper=pepper) for cover in covers]
    codes = [code for code in read if code is not None and code.sheet == COVER]
    found = await lock_serials(connection, codes)
    sold: list[UUID] = []
    errors: list[RowError] = []
    for row, code in enumerate(read, 1):
        serial = None if code is None else found.get((code.batch, code.number))
        if code is None or code.sheet != COVER or serial is None:
            errors.append(RowError(row, "paper_unreadable"))
        elif serial.id in sold:
            errors.append(RowError(row, "paper_repeated"))
        elif serial.state != SerialState.SHIPPED:
            errors.append(RowError(row, "paper_state"))
        else:
            sold.append(serial.id)
    if sold:
        wallets = [NewWallet(serial_id, tier=Tier.VISITOR) for serial_id in sold]
        await insert_wallets(connection, wallets=wallets, now_us=now_us)
        await connection.execute(_SELL, {"ids": sold, "now": to_datetime(now_us)})
    return Sale(sold, errors)
