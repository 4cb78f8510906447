"""What is on sale: opened, changed and looked at; the counters belong to those who buy."""

from collections.abc import Collection
from typing import Any, Final, Literal
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.core.clock import to_datetime, to_microseconds
from wallet.core.refusals import RefusedError

PAY_WITHIN_S: Final = 7 * 86_400
"""How long units are kept for a buyer unless a sale says otherwise: seven days."""

# Whoever takes sets of a frame, on paper or for the app, does so one after the other.
_LOCK_FRAMES: Final = text("""
SELECT FROM programme WHERE code = ANY (CAST(:codes AS text[])) ORDER BY code FOR NO KEY UPDATE
""")

_BOOKLETS: Final = text("""
SELECT g.code, count(*) AS booklets
FROM programme AS g
JOIN paper_batch AS b ON b.programme_id = g.id
JOIN paper_serial AS s ON s.batch_id = b.id
WHERE g.code = ANY (CAST(:codes AS text[])) AND s.state <> 'cancelled' GROUP BY g.code
""")

_FIND: Final = text("""
SELECT g.id, CAST(g.terms->'frame'->>'sets_total' AS int) AS sets_total
FROM programme AS g WHERE g.code = :code
""")

_OPEN: Final = text("""
INSERT INTO stock AS s (programme_id, mode, units_total, opens_at, closes_at, pay_within_s,
                        min_tier, residents_only)
VALUES (:programme_id, :mode, :units_total, :opens_at, :closes_at, :pay_within_s, :min_tier,
        :residents_only)
ON CONFLICT (programme_id) DO UPDATE
SET mode = excluded.mode, units_total = excluded.units_total, opens_at = excluded.opens_at,
    closes_at = excluded.closes_at, pay_within_s = excluded.pay_within_s,
    min_tier = excluded.min_tier, residents_only = excluded.residents_only
WHERE s.units_reserved + s.units_sold <= excluded.units_total
""")

_LIST: Final = text("""
SELECT g.code, g.terms->>'name' AS name, CAST(g.terms->'frame'->>'price_yen' AS int) AS price_yen,
       CAST(g.terms->'frame'->>'face_yen' AS int) AS face_yen,
       CAST(g.terms->'frame'->>'sets_per_person' AS int) AS units_per_person,
       s.mode, s.units_total, s.units_reserved, s.units_sold, s.opens_at, s.closes_at
FROM stock AS s JOIN programme AS g ON g.id = s.programme_id
WHERE s.closes_at > :now OR :all ORDER BY g.number LIMIT :limit
""")

SALES_MAX: Final = 200


class Sale(msgspec.Struct, frozen=True, kw_only=True):
    """How the units of a programme are sold.

    ``offered``: to whoever has won, up to what they have won; ``first_come``: to whoever asks, as
    long as there is some. Nobody buys before ``opens_us`` or from ``closes_us`` on. A second round
    is the same sale, opened again in another mode or for another period.
    """

    mode: Literal["offered", "first_come"]
    units_total: int
    opens_us: int
    closes_us: int
    pay_within_s: int = PAY_WITHIN_S
    min_tier: Literal["T0", "T1", "T2", "T3"] = "T1"
    residents_only: bool = False


class OnSale(msgspec.Struct, frozen=True, kw_only=True):
    """A sale as it stands; a unit costs ``price_yen`` and is worth ``face_yen``."""

    programme: str
    name: str
    price_yen: int
    face_yen: int
    units_per_person: int
    mode: str
    units_total: int
    units_reserved: int
    units_sold: int
    opens_us: int
    closes_us: int

    @property
    def units_left(self) -> int:
        """What nobody has reserved or bought."""
        return self.units_total - self.units_reserved - self.units_sold


async def lock_frames(connection: AsyncConnection, codes: Collection[str]) -> None:
    """Keep everybody else from taking sets of these frames until the transaction ends."""
    await connection.execute(_LOCK_FRAMES, {"codes": list(codes)})


async def count_booklets(connection: AsyncConnection, codes: Collection[str]) -> dict[str, int]:
    """Return how many sets of each frame are on paper; a booklet that was cancelled is none."""
    rows = await connection.execute(_BOOKLETS, {"codes": list(codes)})
    counted: dict[str, int] = {row.code: row.booklets for row in rows}
    return {code: counted.get(code, 0) for code in codes}


async def open_sale(connection: AsyncConnection, *, programme: str, sale: Sale) -> UUID:
    """Open the sale of a programme, or change it, in the caller's transaction; return its id.

    Raises :class:`RefusedError` ``programme_unknown``, ``sale_without_frame``,
    ``sale_beyond_frame`` for more units than the frame has besides those on paper, and
    ``sale_below_sold`` for fewer than are reserved or sold.
    """
    await lock_frames(connection, [programme])
    found = (await connection.execute(_FIND, {"code": programme})).one_or_none()
    if found is None:
        raise RefusedError("programme_unknown", programme=programme)
    if found.sets_total is None:
        raise RefusedError("sale_without_frame", programme=programme)
    booklets = (await count_booklets(connection, [programme]))[programme]
    if sale.units_total > found.sets_total - booklets:
        raise RefusedError("sale_beyond_frame", sets_total=found.sets_total, booklets=booklets)
    values: dict[str, Any] = {
        "programme_id": found.id,
        "opens_at": to_datetime(sale.opens_us),
        "closes_at": to_datetime(sale.closes_us),
        "mode": sale.mode,
        "units_total": sale.units_total,
        "pay_within_s": sale.pay_within_s,
        "min_tier": sale.min_tier,
        "residents_only": sale.residents_only,
    }
    if (await connection.execute(_OPEN, values)).rowcount == 0:
        raise RefusedError("sale_below_sold", programme=programme)
    opened: UUID = found.id
    return opened


async def list_sales(
    connection: AsyncConnection, *, now_us: int, also_over: bool = False
) -> list[OnSale]:
    """Return the sales that are not over yet, by the programmes' numbers."""
    values = {"now": to_datetime(now_us), "all": also_over, "limit": SALES_MAX}
    return [
        OnSale(
            programme=row.code,
            name=row.name,
            price_yen=row.price_yen,
            face_yen=row.face_yen,
            units_per_person=row.units_per_person,
            mode=row.mode,
            units_total=row.units_total,
            units_reserved=row.units_reserved,
            units_sold=row.units_sold,
            opens_us=to_microseconds(row.opens_at),
            closes_us=to_microseconds(row.closes_at),
        )
        for row in await connection.execute(_LIST, values)
    ]
