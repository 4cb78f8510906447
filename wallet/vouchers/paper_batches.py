"""Order paper vouchers, list what is to be printed, and note where the booklets are."""

from collections.abc import Iterator
from datetime import date, datetime
from typing import Annotated, Final
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.core.clock import to_datetime
from wallet.core.ids import align_id, new_id
from wallet.core.outbox import tell
from wallet.core.refusals import Refusal, RefusedError
from wallet.programmes.draft_queries import Standing, find_programme
from wallet.vouchers.paper_rules import (
    BOOKLETS_PER_BATCH_MAX,
    BY_HAND,
    COVER,
    SHEETS_MAX,
    STEPS,
    SerialState,
    SheetCode,
    check_clearing,
    print_code,
    sheet_yen_of,
)
from wallet.vouchers.paper_tables import paper_batch
from wallet.vouchers.purchase_stock import count_booklets, lock_frames

_INSERT_SERIALS: Final = text("""
INSERT INTO paper_serial (id, batch_id, number, state, changed_at)
SELECT id, :batch_id, number, 'printed', :now
FROM unnest(CAST(:ids AS uuid[])) WITH ORDINALITY AS new (id, number)
""")

# All units of a sale, as whoever comes may still buy them. Before winners may buy there is no sale
# yet, but a closed list that says how many units they are drawn for.
_SETS_OF_THE_APP: Final = text("""
SELECT greatest(
    (SELECT s.units_total FROM stock AS s WHERE s.programme_id = g.id),
    (SELECT max(CAST(d.units->>g.code AS int))
     FROM draw AS d JOIN campaign AS c ON c.id = d.campaign_id
     WHERE c.terms->'frames' @> to_jsonb(g.code)
       AND c.state IN ('checking', 'drawn', 'notified', 'lapsed_units')),
    0)
FROM programme AS g WHERE g.id = :programme_id
""")

_COLUMNS: Final = """
SELECT b.id, b.number, g.code AS programme, b.booklets, b.sheets, b.sheet_yen, b.clearing_until,
       b.destination, b.made_at,
       (SELECT jsonb_object_agg(state, booklets) FROM (
            SELECT state, count(*) AS booklets FROM paper_serial WHERE batch_id = b.id GROUP BY 1
        ) AS counted) AS states
FROM paper_batch AS b JOIN programme AS g ON g.id = b.programme_id
"""

_FIND: Final = text(f"{_COLUMNS} WHERE b.id = :id")
_LIST: Final = text(f"{_COLUMNS} WHERE b.id < CAST(:before AS uuid) ORDER BY b.id DESC LIMIT :most")

_LOCK_RANGE: Final = text("""
SELECT number, state FROM paper_serial
WHERE batch_id = :batch_id AND number BETWEEN :first AND :last ORDER BY id FOR NO KEY UPDATE
""")

_STEP: Final = text("""
UPDATE paper_serial SET state = :state, changed_at = :now
WHERE batch_id = :batch_id AND number BETWEEN :first AND :last
""")

_NOT_READY_TOLD_MAX: Final = 20


class PaperOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Booklets to print, each one set of a programme in ``sheets`` of the same worth.

    ``clearing_until`` is the last day in Japan on which used sheets are taken in.
    """

    programme: str
    booklets: Annotated[int, msgspec.Meta(ge=1, le=BOOKLETS_PER_BATCH_MAX)]
    sheets: Annotated[int, msgspec.Meta(ge=1, le=SHEETS_MAX)]
    clearing_until: date
    destination: str = ""


class PaperBatch(msgspec.Struct, frozen=True):
    """An order of booklets; ``states`` counts them by where they are."""

    id: UUID
    number: int
    programme: str
    booklets: int
    sheets: int
    sheet_yen: int
    clearing_until: date
    destination: str
    made_at: datetime
    states: dict[str, int]


class PrintedSheet(msgspec.Struct, frozen=True):
    """A cover or a sheet to print; a cover is worth nothing by itself."""

    booklet: int
    sheet: int
    code: str
    face_yen: int


async def make_paper(
    connection: AsyncConnection,
    *,
    batch_id: UUID,
    order: PaperOrder,
    ordered_by: UUID,
    now_us: int,
) -> int:
    """Write the booklets of an order and return the batch's number; it has been approved.

    Raises :class:`RefusedError` with what :func:`check_paper_order` says.
    """
    await lock_frames(connection, [order.programme])
    programme, sheet_yen = await check_paper_order(connection, order=order)
    values = {
        "id": batch_id,
        "programme_id": programme.id,
        "booklets": order.booklets,
        "sheets": order.sheets,
        "sheet_yen": sheet_yen,
        "clearing_until": order.clearing_until,
        "destination": order.destination,
        "ordered_by": ordered_by,
        "made_at": to_datetime(now_us),
    }
    insert = paper_batch.insert().values(**values).returning(paper_batch.c.number)
    number: int = (await connection.execute(insert)).scalar_one()
    ids = [align_id(new_id(now_us=now_us)) for _ in range(order.booklets)]
    serials = {"batch_id": batch_id, "ids": ids, "now": to_datetime(now_us)}
    await connection.execute(_INSERT_SERIALS, serials)
    return number


async def check_paper_order(
    connection: AsyncConnection, *, order: PaperOrder
) -> tuple[Standing, int]:
    """Return the programme and what a sheet is worth, or raise why there are no such booklets.

    ``programme_unknown``, ``paper_without_frame``, ``paper_sheets_uneven``,
    ``paper_clearing_too_short``, and ``paper_sold_out`` for more booklets than there are sets
    that the app does not sell.
    """
    programme = await find_programme(connection, code=order.programme)
    if programme is None:
        raise RefusedError("programme_unknown")  # What was typed is not kept.
    terms = programme.terms
    sheet_yen = sheet_yen_of(terms, sheets=order.sheets)
    if isinstance(sheet_yen, Refusal):
        raise _error(sheet_yen)
    too_short = check_clearing(terms, clearing_until=order.clearing_until)
    if too_short is not None:
        raise _error(too_short)
    ordered = (await count_booklets(connection, [programme.code]))[programme.code]
    found = await connection.execute(_SETS_OF_THE_APP, {"programme_id": programme.id})
    sets_total = terms.frame.sets_total if terms.frame else 0
    left_sets = max(0, sets_total - ordered - found.scalar_one())
    if order.booklets > left_sets:
        raise RefusedError("paper_sold_out", left_sets=left_sets)
    return programme, sheet_yen


def _error(refusal: Refusal) -> RefusedError:
    return RefusedError(refusal.code, **refusal.facts)


async def find_paper(connection: AsyncConnection, *, batch_id: UUID) -> PaperBatch:
    """Return an order of booklets; raises ``batch_unknown``."""
    row = (await connection.execute(_FIND, {"id": batch_id})).one_or_none()
    if row is None:
        raise RefusedError("batch_unknown")
    return PaperBatch(*row)


async def list_paper(
    connection: AsyncConnection, *, before: UUID | None, limit: int
) -> list[PaperBatch]:
    """Return orders of booklets, newest first."""
    values = {"before": before or UUID(int=2**128 - 1), "most": limit}
    return [PaperBatch(*row) for row in await connection.execute(_LIST, values)]


def sheets_to_print(batch: PaperBatch, *, pepper: bytes) -> Iterator[PrintedSheet]:
    """Yield every cover with its sheets; the codes come from the key, so they are kept nowhere."""
    for booklet in range(1, batch.booklets + 1):
        for sheet in range(COVER, batch.sheets + 1):
            code = print_code(SheetCode(batch.number, booklet, sheet), pepper=pepper)
            yield PrintedSheet(booklet, sheet, code, 0 if sheet == COVER else batch.sheet_yen)


async def move_booklets(
    connection: AsyncConnection,
    *,
    batch_id: UUID,
    first: int,
    last: int,
    to: SerialState,
    now_us: int,
) -> int:
    """Note that the booklets ``first`` to ``last`` of a batch were shipped, returned and so on.

    All or none. Returns how many. Raises ``batch_unknown``, ``paper_unknown`` for numbers that the
    batch has not, and ``paper_state`` with the first numbers that may not become this.
    """
    await find_paper(connection, batch_id=batch_id)
    values = {"batch_id": batch_id, "first": first, "last": last}
    found = (await connection.execute(_LOCK_RANGE, values)).all()
    if len(found) != last - first + 1:
        raise RefusedError("paper_unknown")
    held = [row.number for row in found if to not in BY_HAND & STEPS[SerialState(row.state)]]
    if held:
        raise RefusedError("paper_state", numbers=sorted(held)[:_NOT_READY_TOLD_MAX])
    await connection.execute(_STEP, {**values, "state": to, "now": to_datetime(now_us)})
    body = {"batch_id": batch_id, "first": first, "last": last}
    await tell(connection, kind=f"paper.{to}", body=body, now_us=now_us)
    return len(found)
