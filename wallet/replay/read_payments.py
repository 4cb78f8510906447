"""Read payments from a CSV or Parquet file; a bad row is named by its line and stops everything.

Columns: ``at`` (ISO 8601, Japanese time when no zone is said), ``customer_id``, ``terminal_id``,
and either ``amount`` in whole yen or ``amount_cents``, of which one cent stands for one yen.
Others are ignored.
"""

import csv
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import msgspec

from wallet.core.clock import JST
from wallet.core.refusals import RefusedError

AMOUNT_YEN_MAX: Final = 1_000_000
"""The most that one payment may ask for at the till."""
ID_CHARACTERS_MAX: Final = 64
PROBLEMS_MAX: Final = 20
"""Bad rows that are named; whoever has more has another problem."""
AMOUNTS: Final = ("amount", "amount_cents")
REQUIRED: Final = ("at", "customer_id", "terminal_id")

_PARQUET_MAGIC: Final = b"PAR1"
_BATCH_ROWS: Final = 50_000

Values = tuple[Any, Any, Any, Any]
"""Of one row: at, customer, terminal, amount."""


class RecordedPayment(msgspec.Struct, frozen=True, gc=False):
    """A payment of the file; ``line`` is where it stands."""

    line: int
    at: datetime
    customer: str
    terminal: str
    amount_yen: int


class Recording(msgspec.Struct, frozen=True):
    """The payments of a file in the order of time, and how many rows had no amount to pay."""

    payments: list[RecordedPayment]
    zero_rows: int


def read_payments(path: Path, *, payments_max: int | None = None) -> Recording:
    """Return the first ``payments_max`` payments of a file (all by default), ordered by time.

    Rows of 0 yen are counted and left out, since there is nothing to pay. Raises
    :class:`BadFileError` (``replay_file_invalid``) with the problems, named by line (CSV) or row
    (Parquet).
    """
    payments: list[RecordedPayment] = []
    problems: list[str] = []
    zero_rows = 0
    for row in _rows(path):
        if len(payments) == payments_max or len(problems) == PROBLEMS_MAX:
            break
        try:
            payment = _payment(*row)
        except ValueError as error:
            problems.append(str(error))
            continue
        if payment.amount_yen:
            payments.append(payment)
        else:
            zero_rows += 1
    if not payments and not problems:
        problems = ["there are no payments in the file"]
    if problems:
        raise BadFileError(*problems)
    return Recording(sorted(payments, key=lambda payment: payment.at), zero_rows)


class BadFileError(RefusedError):
    """The file cannot be replayed; ``problems`` says where and why, for the one who made it."""

    def __init__(self, *problems: str) -> None:
        super().__init__("replay_file_invalid", problems=list(problems))


def _rows(path: Path) -> Iterator[tuple[str, Values]]:
    """Yield where each row stands and its values."""
    try:
        with path.open("rb") as file:
            is_parquet = file.read(len(_PARQUET_MAGIC)) == _PARQUET_MAGIC
    except OSError as error:
        problem = f"{path} cannot be read: {error.strerror}"
        raise BadFileError(problem) from None
    yield from _parquet_rows(path) if is_parquet else _csv_rows(path)


def _csv_rows(path: Path) -> Iterator[tuple[str, Values]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        try:
            header = next(reader, [])
            places = [header.index(name) for name in _columns(header)]
            for values in reader:
                if values:
                    # A short row has nothing in its last columns, which are then named as bad.
                    filled = values + [None] * (len(header) - len(values))
                    at, customer, terminal, amount = (filled[place] for place in places)
                    yield f"line {reader.line_num}", (at, customer, terminal, amount)
        except (csv.Error, UnicodeDecodeError) as error:
            problem = f"line {reader.line_num + 1}: {error}"
            raise BadFileError(problem) from None


def _parquet_rows(path: Path) -> Iterator[tuple[str, Values]]:
    # Loading it takes a third of a second, which nobody shall pay who does not read Parquet.
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import parquet  # noqa: PLC0415

    try:
        with parquet.ParquetFile(path) as file:
            columns = _columns(file.schema_arrow.names)
            row = 0
            for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=columns):
                values = [batch.column(name).to_pylist() for name in columns]
                for at, customer, terminal, amount in zip(*values, strict=True):
                    row += 1
                    yield f"row {row}", (at, customer, terminal, amount)
    except (pa.ArrowException, OSError, ValueError) as error:
        problem = f"this Parquet file cannot be read: {error}"
        raise BadFileError(problem) from None


def _columns(names: Sequence[str]) -> list[str]:
    """Return the four columns to read, the amount last; refuses a file without them."""
    missing = [name for name in REQUIRED if name not in names]
    amounts = [name for name in AMOUNTS if name in names]
    if missing:
        problem = f"columns are missing: {', '.join(missing)}; there are {_listed(names)}"
        raise BadFileError(problem)
    if len(amounts) != 1:
        problem = f"give either amount or amount_cents; there are {_listed(names)}"
        raise BadFileError(problem)
    return [*REQUIRED, *amounts]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)[:200] or "none"


def _payment(where: str, values: Values) -> RecordedPayment:
    """Return a row's payment; raises ValueError naming the row and the column."""
    at, customer, terminal, amount = values
    return RecordedPayment(
        int(where.rpartition(" ")[2]),
        _moment(where, at),
        _identifier(where, "customer_id", customer),
        _identifier(where, "terminal_id", terminal),
        _amount(where, amount),
    )


def _moment(where: str, value: Any) -> datetime:  # noqa: ANN401 - whatever the file holds
    try:
        at = value if isinstance(value, datetime) else datetime.fromisoformat(value.strip())
    except (ValueError, AttributeError):
        message = f"{where}: at: {_shown(value)} is not a time like 2026-04-01T12:34:56"
        raise ValueError(message) from None
    return at if at.tzinfo else at.replace(tzinfo=JST)


def _identifier(where: str, column: str, value: Any) -> str:  # noqa: ANN401
    text = "" if value is None else str(value).strip()
    if not 1 <= len(text) <= ID_CHARACTERS_MAX:
        message = f"{where}: {column}: {_shown(value)} is not 1 to {ID_CHARACTERS_MAX} characters"
        raise ValueError(message)
    return text


def _amount(where: str, value: Any) -> int:  # noqa: ANN401
    amount: int | None = None
    if isinstance(value, str):
        text = value.strip()
        if text.isascii() and text.isdigit() and len(text) <= len(str(AMOUNT_YEN_MAX)):
            amount = int(text)
    elif isinstance(value, int | float | Decimal) and value == value // 1:
        amount = int(value)
    if amount is None or not 0 <= amount <= AMOUNT_YEN_MAX:
        message = f"{where}: amount: {_shown(value)} is not whole yen from 0 to {AMOUNT_YEN_MAX:,}"
        raise ValueError(message)
    return amount


def _shown(value: object) -> str:
    return "nothing" if value is None else repr(value)[:60]
