"""Read a roster's file: CSV in UTF-8 or CP932, or the first sheet of an XLSX workbook.

Pure: bytes go in, rows of text come out. A file may come from anywhere, so it is bounded in bytes,
rows and columns, packed and unpacked. Its XML is read by expat, which since 2.4.1 gives up on
entities that grow to more than they are, and fetches none; a test holds that.
"""

import csv
import hashlib
import io
import zipfile
from collections.abc import Iterable, Iterator
from datetime import date, datetime
from typing import Any, Final

import msgspec
from openpyxl import load_workbook  # type: ignore[import-untyped] # it has no types of its own

from wallet.benefits.rules import (
    COLUMNS,
    MUST_BE_FILLED,
    ROWS_MAX,
    RosterRow,
    RowError,
    leave_out_repeats,
    plain,
    read_row,
)
from wallet.core.refusals import RefusedError

ROSTER_BYTES_MAX: Final = 16 * 1024 * 1024
UNPACKED_BYTES_MAX: Final = 256 * 1024 * 1024
CELLS_MAX: Final = 16
"""Cells of a row that are looked at; a roster has nine columns."""

_XLSX: Final = b"PK\x03\x04"
_ENCODINGS: Final = ("utf-8-sig", "cp932")


class Roster(msgspec.Struct, frozen=True):
    """A file that was read: what can be accepted of it, and what cannot, by row."""

    file_hash: bytes
    rows_total: int
    rows: list[RosterRow]
    errors: list[RowError]


def read_roster(data: bytes, *, programme: str, day: date) -> Roster:
    """Return what a file says of a programme's beneficiaries on a day.

    Good rows are accepted whatever is wrong with others. Raises :class:`RefusedError`
    ``roster_unreadable``, ``roster_columns`` with what is missing and unknown, ``roster_empty``
    and ``roster_too_large``.
    """
    if len(data) > ROSTER_BYTES_MAX:
        raise RefusedError("roster_too_large", rows_max=ROWS_MAX)
    table = _table_of(data)
    heading = [plain(cell).lower() for cell in next(table, [])]
    while heading and not heading[-1]:
        heading.pop()
    _check_heading(heading)
    good: list[RosterRow] = []
    errors: list[RowError] = []
    total = 0
    for number, cells in enumerate(table, 2):
        if not any(cells):
            continue
        total += 1
        if total > ROWS_MAX:
            raise RefusedError("roster_too_large", rows_max=ROWS_MAX)
        row = read_row(
            number, dict(zip(heading, cells, strict=False)), programme=programme, day=day
        )
        if isinstance(row, RosterRow):
            good.append(row)
        else:
            errors += row
    if not total:
        raise RefusedError("roster_empty")
    rows, repeated = leave_out_repeats(good)
    errors = sorted(errors + repeated, key=lambda one: one.row_number)
    return Roster(hashlib.sha256(data).digest(), total, rows, errors)


def _check_heading(heading: list[str]) -> None:
    unknown = sorted(set(heading) - set(COLUMNS))
    missing = sorted(MUST_BE_FILLED - set(heading))
    if unknown or missing or len(heading) != len(set(heading)):
        raise RefusedError(
            "roster_columns", missing=missing, unknown=[one[:40] for one in unknown[:10]]
        )


def _table_of(data: bytes) -> Iterator[list[str]]:
    if data.startswith(_XLSX):
        return _sheet_of(data)
    for encoding in _ENCODINGS:
        try:
            written = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        return _lines_of(written)
    raise RefusedError("roster_unreadable")


def _lines_of(written: str) -> Iterator[list[str]]:
    if "\x00" in written:
        raise RefusedError("roster_unreadable")
    try:
        for row in csv.reader(io.StringIO(written, newline=""), strict=True):
            yield [cell.strip() for cell in row[:CELLS_MAX]]
    except csv.Error:
        raise RefusedError("roster_unreadable") from None


def _sheet_of(data: bytes) -> Iterator[list[str]]:
    """Yield the rows of the first sheet as they are read; nothing is built of the whole of it."""
    try:
        unpacked_bytes = _unpacked_bytes(data)
        if unpacked_bytes <= UNPACKED_BYTES_MAX:
            workbook = load_workbook(
                io.BytesIO(data), read_only=True, data_only=True, keep_links=False
            )
            rows = workbook.worksheets[0].iter_rows(
                max_row=2 * ROWS_MAX, max_col=CELLS_MAX, values_only=True
            )
            yield from _texts_of(rows)
    except Exception:  # noqa: BLE001 - whatever a broken workbook makes its reader raise
        raise RefusedError("roster_unreadable") from None
    if unpacked_bytes > UNPACKED_BYTES_MAX:
        raise RefusedError("roster_too_large", rows_max=ROWS_MAX)


def _unpacked_bytes(data: bytes) -> int:
    """Return what the archive says it unpacks to; the reader stops where that was a lie."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return sum(entry.file_size for entry in archive.infolist())


def _texts_of(rows: Iterable[Iterable[Any]]) -> Iterator[list[str]]:
    for row in rows:
        yield [_text_of(cell) for cell in row]


def _text_of(cell: object) -> str:
    """Return a cell as a CSV would have it: a day as a day, a whole number without a point."""
    if cell is None:
        return ""
    if isinstance(cell, datetime):
        return cell.date().isoformat()
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell).strip()
