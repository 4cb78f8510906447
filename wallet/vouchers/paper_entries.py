"""The clearing centre: used sheets come in by the envelope, one shop's at a time.

A sheet is taken in once, whoever brings it: its row in ``paper_use`` is its key. What is taken in
is paid to the shop by the worker, as a payment like one by QR code; what is not is told by its row.
"""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, Final
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.core.clock import japanese_day, to_datetime
from wallet.core.ids import align_id, new_id
from wallet.core.refusals import RefusedError
from wallet.vouchers.paper_rules import COVER, SerialState, SheetCode, read_code
from wallet.vouchers.paper_sales import RowError, lock_serials

ROWS_MAX: Final = 200

# The shop's oldest register that is in use stands for the envelope.
_TERMINAL: Final = text("""
SELECT id FROM terminal WHERE shop_id = :shop_id ORDER BY state <> 'active', id LIMIT 1
""")

_USED: Final = text("""
SELECT serial_id, sheet FROM paper_use WHERE serial_id = ANY(CAST(:ids AS uuid[]))
""")

_INSERT: Final = text("""
INSERT INTO paper_use (serial_id, sheet, payment_id, entry_id, terminal_id, used_on, entered_by,
                       entered_at)
SELECT serial_id, sheet, payment_id, :entry_id, :terminal_id, :used_on, :entered_by, :now
FROM unnest(CAST(:serial_ids AS uuid[]), CAST(:sheets AS int[]), CAST(:payment_ids AS uuid[]))
     AS new (serial_id, sheet, payment_id)
""")

_ENTRY: Final = text("""
SELECT b.number AS batch, s.number, u.sheet, u.payment_id, b.sheet_yen, u.used_on, u.entered_at,
       u.settled_at, u.refusal ->> 'code' AS refused_because
FROM paper_use AS u
JOIN paper_serial AS s ON s.id = u.serial_id
JOIN paper_batch AS b ON b.id = s.batch_id
WHERE u.entry_id = :entry_id ORDER BY b.number, s.number, u.sheet
""")


class UsedSheet(msgspec.Struct, frozen=True):
    """A sheet out of an envelope; ``torn``: unreadable, or less than four fifths of it are there.

    ``code`` is what was typed or scanned.
    """

    code: str
    torn: bool = False


class Entered(msgspec.Struct, frozen=True):
    """An envelope: how many sheets were taken in, and which were not."""

    entry_id: UUID
    accepted: int
    errors: list[RowError]


class EnteredSheet(msgspec.Struct, frozen=True):
    """A sheet that was taken in; paid when it was settled and nothing refused it."""

    batch: int
    number: int
    sheet: int
    payment_id: UUID
    amount_yen: int
    used_on: date
    entered_at: datetime
    settled_at: datetime | None
    refused_because: str | None


async def enter_sheets(
    connection: AsyncConnection,
    *,
    shop_id: UUID,
    used_on: date,
    sheets: Sequence[UsedSheet],
    entered_by: UUID,
    pepper: bytes,
    now_us: int,
) -> Entered:
    """Take in the sheets of a shop that are good, and say of the others what they are not.

    ``used_on`` is the day they were used, the latest of them in one envelope. A row is refused with
    ``paper_torn``, ``paper_unreadable``, ``paper_repeated``, ``paper_lost``, ``paper_not_sold``,
    ``paper_late`` after the last day of clearing, ``paper_outside_period`` for the day of use.
    Raises :class:`RefusedError` ``paper_shop_unknown``.
    """
    values = {"shop_id": shop_id}
    terminal_id = (await connection.execute(_TERMINAL, values)).scalar_one_or_none()
    if terminal_id is None:
        raise RefusedError("paper_shop_unknown")
    today = japanese_day(now_us)
    read = [None if one.torn else read_code(one.code, pepper=pepper) for one in sheets]
    serials = await lock_serials(connection, [code for code in read if code is not None])
    taken = await _taken(connection, [serial.id for serial in serials.values()])
    accepted: list[tuple[UUID, int]] = []
    errors: list[RowError] = []
    for row, (one, code) in enumerate(zip(sheets, read, strict=True), 1):
        serial = None if code is None else serials.get((code.batch, code.number))
        refused = "paper_torn" if one.torn else _refuse(code, serial, taken, used_on, today)
        if refused is not None or code is None or serial is None:
            errors.append(RowError(row, refused or "paper_unreadable"))
            continue
        taken.add((serial.id, code.sheet))
        accepted.append((serial.id, code.sheet))
    entry_id = new_id(now_us=now_us)
    await connection.execute(
        _INSERT,
        {
            "serial_ids": [serial_id for serial_id, _ in accepted],
            "sheets": [sheet for _, sheet in accepted],
            "payment_ids": [align_id(new_id(now_us=now_us)) for _ in accepted],
            "entry_id": entry_id,
            "terminal_id": terminal_id,
            "used_on": used_on,
            "entered_by": entered_by,
            "now": to_datetime(now_us),
        },
    )
    return Entered(entry_id, len(accepted), errors)


async def list_entry(connection: AsyncConnection, *, entry_id: UUID) -> list[EnteredSheet]:
    """Return what was taken in of an envelope; raises ``paper_entry_unknown`` when nothing was."""
    rows = (await connection.execute(_ENTRY, {"entry_id": entry_id})).all()
    if not rows:
        raise RefusedError("paper_entry_unknown")
    return [EnteredSheet(*row) for row in rows]


async def _taken(connection: AsyncConnection, serial_ids: list[UUID]) -> set[tuple[UUID, int]]:
    """Return the sheets of locked booklets that were taken in before."""
    rows = await connection.execute(_USED, {"ids": serial_ids})
    return {(row.serial_id, row.sheet) for row in rows}


def _refuse(
    code: SheetCode | None,
    serial: Any,  # noqa: ANN401 - a row of lock_serials
    taken: set[tuple[UUID, int]],
    used_on: date,
    today: date,
) -> str | None:
    """Return what is wrong with a sheet, None when its shop is to be paid for it."""
    if code is None or serial is None or not COVER < code.sheet <= serial.sheets:
        return "paper_unreadable"
    if (serial.id, code.sheet) in taken:
        return "paper_repeated"
    if serial.state == SerialState.LOST:
        return "paper_lost"
    if serial.state != SerialState.SOLD:
        return "paper_not_sold"
    if not serial.first_day <= used_on <= min(serial.last_day, today):
        return "paper_outside_period"
    return "paper_late" if today > serial.clearing_until else None
